"""Edge functions, without Deno."""
