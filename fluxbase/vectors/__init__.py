"""Collections: tables whose texts get their vectors by themselves."""
