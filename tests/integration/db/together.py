"""Many reads at once, and statements that no test has used: how quick a kind was is remembered."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from fluxbase.db.sql import Statement

if TYPE_CHECKING:
    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.db.types import ReadRow
    from fluxbase.principal import Principal

    Owner = asyncpg.Connection[asyncpg.Record]

_NUMBERS = itertools.count()


def new(columns: str) -> Any:
    """Return a statement with some columns after the first."""
    return f"SELECT current_user::text, {columns} -- {next(_NUMBERS)}"


def of_pid() -> Statement:
    """Return one that tells which process of Postgres ran it."""
    return Statement(new("pg_backend_pid() AS pid"))


def echo() -> Any:
    """Return one that gives back what it is given."""
    return new("$1::int AS n, repeat($2, $1) AS said, $3::text AS more")


def sleeping() -> Any:
    """Return one that sleeps for some seconds and tells them."""
    return new("pg_sleep($1::text::float8)::text, $1")


class Reader:
    """One caller, who asks many things at once."""

    def __init__(self, backend: Backend, who: Principal) -> None:
        self._database = backend.database
        self.who = who

    async def ask(self, statement: Statement) -> ReadRow:
        """Ask one thing; what was never asked before goes alone, and is known afterwards."""
        return await self._database.read(self.who, statement)

    async def together(self, *statements: Statement) -> list[Any]:
        """Ask all at the same moment; what is refused is its error."""
        asked = (self._database.read(self.who, statement) for statement in statements)
        return await asyncio.gather(*asked, return_exceptions=True)


async def until(overseer: Owner, text: str, *, running: int) -> None:
    """Wait until so many of the sleeping reads run; Postgres looks for its client each second."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
    async with asyncio.timeout(10):
        while await overseer.fetchval(query, text) != running:
            await overseer.execute("SELECT pg_sleep(0.02)")


async def gone(overseer: Owner, pid: int) -> None:
    """Wait until a process of Postgres has ended."""
    async with asyncio.timeout(5):
        while await overseer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            await overseer.execute("SELECT pg_sleep(0.02)")
