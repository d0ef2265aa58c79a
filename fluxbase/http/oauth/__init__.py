"""The authorization server in HTTP: its documents, its endpoints and its pages."""
