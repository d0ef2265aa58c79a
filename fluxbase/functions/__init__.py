"""Edge functions: code of administrators that runs in a sandbox, with the rights of its caller."""
