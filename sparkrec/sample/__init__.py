"""A clickstream of our own, with the habits and the dirt of real logs."""
