"""A connection with a short way to one row; it must not know who speaks on it, nor what is asked.

What asyncpg does between a call and its protocol serves loggers of queries, time limits of its own
and callers who share a connection. None of it is used on the way of a read, where it costs a fifth
of what the driver costs in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import asyncpg

from fluxbase.db.types import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.types import Record


class Line(Connection):
    """asyncpg's connection; whoever holds it is alone on it."""

    async def one(self, query: str, values: Sequence[object]) -> Record | None:
        """Return the first row, as `fetchrow` does.

        A statement that the connection has prepared is sent at once; another one goes the long way,
        and so does one whose result has other types by now, which Postgres has not run.

        Raises:
            asyncpg.PostgresError: Postgres refuses the statement.
            asyncpg.InterfaceError: a value does not fit its type, or the connection is closed.
        """
        protocol = self._protocol
        cache: Any = self._stmt_cache
        statement: Any = cache.get((query, protocol.get_record_class(), False))
        if statement is None:
            return await super().fetchrow(query, *values)
        try:
            found: Any = await protocol.bind_execute(statement, values, "", 1, False, None)
        except asyncpg.InvalidCachedStatementError:
            return await super().fetchrow(query, *values)
        except asyncpg.OutdatedSchemaCacheError:
            await self.reload_schema_state()
            raise
        rows = cast("list[Record]", found)
        return rows[0] if rows else None
