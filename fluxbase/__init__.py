"""Fluxbase: a Postgres backend for AI assistants."""

__version__ = "0.1.0"
