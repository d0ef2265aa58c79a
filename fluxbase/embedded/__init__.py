"""Postgres of our own: finds binaries, starts, watches and stops a server; it knows no SQL."""

from fluxbase.embedded.endpoint import Endpoint
from fluxbase.embedded.launcher import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "Endpoint"]
