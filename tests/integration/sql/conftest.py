"""The callers of free SQL."""

from tests.sql_callers import askers, one, sql_keys, two

__all__ = ["askers", "one", "sql_keys", "two"]
