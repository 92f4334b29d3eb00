"""Stage 2: histories to fixed-length training windows with negatives."""
