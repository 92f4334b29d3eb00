"""Stage 3: windows to a trained model, on one or many ranks."""
