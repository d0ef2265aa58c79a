"""Edge functions."""
