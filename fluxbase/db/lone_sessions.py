"""Keeps sessions of callers who logged in by themselves for a moment; it must not know their SQL.

A session is lent to the very caller who logged in and to nobody else, so what `DISCARD ALL` could
ever leave in it was that caller's own. Logging in costs Postgres a process and an empty cache of
its catalog, which is most of what a small statement costs.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import asyncpg

from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.db.types import Connection
    from fluxbase.principal import Principal

AT_ONCE: Final = 4
KEPT: Final = 5.0  # seconds a session waits for its caller's next statement


class _Whose(NamedTuple):
    role: str
    write: bool


class _Idle(NamedTuple):
    whose: _Whose
    raw: Connection
    since: float


class LogIn(Protocol):
    """Opens a session of a caller."""

    async def __call__(self, who: Principal, write: bool) -> Connection:
        """Return it, or raise `FluxbaseError`."""
        ...


class Begin(Protocol):
    """Begins a transaction of a caller in its session."""

    async def __call__(self, raw: Connection, who: Principal) -> None:
        """Begin it, or raise `FluxbaseError`."""
        ...


class LoneSessions:
    """At most `AT_ONCE` sessions, lent and kept together."""

    def __init__(self, log_in: LogIn, begin: Begin) -> None:
        self._log_in = log_in
        self._begin = begin
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._lent = 0
        self._idle: list[_Idle] = []  # the one that waits longest comes first
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lend(self, who: Principal, *, write: bool) -> AsyncGenerator[Connection]:
        """Yield a session of the caller's own, as after logging in, in a new transaction.

        Raises:
            FluxbaseError: the database cannot be reached.
        """
        whose = _Whose(who.role, write)
        async with self._turns:
            self._lent += 1
            try:
                raw = await self._begun(who, whose)
                try:
                    yield raw
                finally:
                    await self._take_back(whose, raw)
            finally:
                self._lent -= 1

    async def close(self) -> None:
        """Close what is kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for idle in self._idle:
            self._end(idle.raw)
        self._idle.clear()
        if self._closing:
            await asyncio.wait(self._closing, timeout=5)

    async def _begun(self, who: Principal, whose: _Whose) -> Connection:
        kept = self._take(whose)
        if kept is not None:
            try:
                await self._begin(kept, who)
            except Unavailable:
                kept.terminate()  # it died while it was kept
            except BaseException:
                kept.terminate()
                raise
            else:
                return kept
        self._make_room()
        raw = await self._log_in(who, whose.write)
        try:
            await self._begin(raw, who)
        except BaseException:
            raw.terminate()
            raise
        return raw

    def _take(self, whose: _Whose) -> Connection | None:
        for place in reversed(range(len(self._idle))):
            idle = self._idle[place]
            if idle.whose == whose:
                del self._idle[place]
                if not idle.raw.is_closed():
                    return idle.raw
        return None

    def _make_room(self) -> None:
        while self._idle and len(self._idle) + self._lent > AT_ONCE:
            self._end(self._idle.pop(0).raw)

    async def _take_back(self, whose: _Whose, raw: Connection) -> None:
        """Empty a session and keep it; one that cannot be emptied at once is closed."""
        try:
            async with asyncio.timeout(2):
                if raw.is_in_transaction():
                    await raw.execute("ROLLBACK")
                await raw.execute("DISCARD ALL")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            raw.terminate()
            return
        except BaseException:
            raw.terminate()
            raise
        self._idle.append(_Idle(whose, raw, time.monotonic()))
        if self._timer is None:
            self._watch()

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEPT, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._idle and now - self._idle[0].since >= KEPT:
            self._end(self._idle.pop(0).raw)
        if self._idle:
            self._watch()

    def _end(self, raw: Connection) -> None:
        async def end() -> None:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await raw.close(timeout=2)

        task = asyncio.ensure_future(end())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
