"""The room of the schema: what tables there are and what they look like."""
