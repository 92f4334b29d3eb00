"""Stage 5: rank held-out targets against the whole catalogue and turn ranks into figures."""
