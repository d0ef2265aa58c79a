"""Asks a Postgres for a sign of life, over and over; it must not decide what follows from silence.

A Postgres that is down refuses at once, but one that hangs keeps everybody waiting. A statement
may run long, a server may not be silent: two questions in a row without an answer, the second one
on a new connection, tell the two apart.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.db.errors import CONNECTION_ERRORS, translate
from fluxbase.db.pool import connect
from fluxbase.db.queries import queries
from fluxbase.errors import FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.db.types import Connection, Record

_PATIENCE: Final = (1.5, 2.0)


class Pulse:
    """Asks one named query on a connection of its own.

    `on_beat` is told after every question whether Postgres is silent; `row` and `failure` hold the
    last answer, `seconds` how long it took.
    """

    def __init__(
        self, url: str, query: str, on_beat: Callable[[bool], None], *, every: float
    ) -> None:
        self.row: Record | None = None
        self.failure: FluxbaseError | None = Unavailable("the database was not asked yet")
        self.seconds = 0.0
        self._url = url
        self._query = query
        self._on_beat = on_beat
        self._every = every
        self._conn: Connection | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                await self.beat()
                await asyncio.sleep(self._every)
        finally:
            self._drop()

    async def beat(self) -> None:
        """Ask once, and once more when nothing comes back."""
        for patience in _PATIENCE:
            try:
                async with asyncio.timeout(patience):
                    await self._ask()
            except TimeoutError:
                self._fail(Unavailable("the database does not answer"))
                continue
            except (FluxbaseError, *CONNECTION_ERRORS, asyncpg.PostgresError) as error:
                self._fail(translate(error))
            self._on_beat(False)
            return
        self._on_beat(True)

    async def _ask(self) -> None:
        started = time.perf_counter()
        if self._conn is None or self._conn.is_closed():
            # The time limit around this one is the one that counts.
            settings = {"application_name": "fluxbase pulse"}
            self._conn = await connect(self._url, settings=settings, seconds=60)
        self.row = await self._conn.fetchrow(queries()[self._query].sql)
        self.seconds = time.perf_counter() - started
        self.failure = None

    def _fail(self, failure: FluxbaseError) -> None:
        self.row, self.failure = None, failure
        self._drop()

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None
