"""An OAuth 2.1 authorization server for the users of the auth schema; it must not know HTTP."""
