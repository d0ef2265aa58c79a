"""Free SQL: one statement of a caller's own making, under the caller's own rights."""
