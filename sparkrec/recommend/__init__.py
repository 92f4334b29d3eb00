"""Stage 4: the top N items of every user, checked and published."""
