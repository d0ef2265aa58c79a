"""How much a caller may do."""
