"""The only code that speaks to Postgres."""
