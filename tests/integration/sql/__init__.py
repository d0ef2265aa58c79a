"""Free SQL."""
