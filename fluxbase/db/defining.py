"""Runs SQL files of the administrator that define functions; it must not know what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from fluxbase.db.queries import queries
from fluxbase.errors import MigrationError

if TYPE_CHECKING:
    from fluxbase.db.types import Connection, Record

_TIMEOUT = 60.0


class Definer:
    """The inside of one transaction of the owner."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._known: set[str] = set()

    async def run(self, name: str, /, **arguments: object) -> list[Record]:
        """Return the rows of a named query."""
        query = queries()[name]
        return await self._conn.fetch(query.sql, *query.bind(arguments), timeout=_TIMEOUT)

    async def define(self, text: str, shown: str) -> list[str]:
        """Run a file, and return the functions that it made or replaced, with their types.

        Raises:
            MigrationError: Postgres refuses it; the file is the administrator's, so it may be told
                why.
        """
        try:
            await self.run("run_file", text=text)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{shown}: {error}") from error
        rows = await self.run("new_functions")
        made = [row["function"] for row in rows if row["function"] not in self._known]
        self._known.update(made)
        return made
