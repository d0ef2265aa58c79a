"""Who is calling: keys, tokens and what they allow; knows the database, not HTTP."""
