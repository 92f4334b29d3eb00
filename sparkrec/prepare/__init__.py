"""Stage 1: raw clicks to events, quarantine, items, item_days and histories."""
