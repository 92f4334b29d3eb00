"""What a person and a script find at the end of a night."""
