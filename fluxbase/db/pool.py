"""Connections that remember whom they speak for; it must not know what is asked on them.

A client pool gives a caller the connection that last held its identity, so that a read costs one
round trip. When another identity takes a connection over, everything a session can hold is reset
in the same trip that sets the new role. Only SQL that this program wrote runs here: SQL that a
caller can influence could change the role and must never share these connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import asyncpg

from fluxbase.db.batcher import Batcher
from fluxbase.db.errors import CONNECTION_ERRORS, refused_role
from fluxbase.db.held import Held
from fluxbase.db.line import Line
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.held import Identity
    from fluxbase.db.types import Connection


class Pool:
    """At most `size` connections of one login, handed out by identity."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        size: int,
        settings: Mapping[str, str],
        acquire_timeout: float,
        connect_timeout: float,
        max_age: float,
        prepared: bool = True,
    ) -> None:
        self.name = name
        self.size = size
        self.batcher = Batcher(self)
        self._url = url
        self._settings = dict(settings)
        self._acquire_timeout = acquire_timeout
        self._connect_timeout = connect_timeout
        self._max_age = max_age
        self._cache = 256 if prepared else 0
        self._open = 0
        self._used: set[Held] = set()
        # Oldest first, so that the first entry is the one to take from another identity.
        self._idle: dict[Held, None] = {}
        self._by_identity: dict[Identity | None, list[Held]] = {}
        # A waiter is given a connection, or `None`: the right to open one.
        self._waiters: deque[asyncio.Future[Held | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._silent = False

    @property
    def in_use(self) -> int:
        """Connections handed out or being opened."""
        return self._open - len(self._idle)

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection."""
        return len(self._waiters)

    def take(self, identity: Identity | None) -> Held | None:
        """Return an idle connection that is set to `identity` already, if there is one."""
        same = self._by_identity.get(identity)
        while same and not self._silent:
            held = same.pop()
            del self._idle[held]
            if not same:
                del self._by_identity[identity]
            if self._good(held):
                self._used.add(held)
                return held
            self.discard(held)
        return None

    async def acquire(self, identity: Identity) -> Held:
        """Return a connection set to `identity`.

        Raises:
            Forbidden: Postgres no longer lets the login become the role.
            Unavailable: no connection came free in time, or Postgres cannot be reached.
        """
        while True:
            held = self.take(identity) or await self._take_any()
            if held.identity == identity:
                return held
            try:
                if not held.used:
                    await self._time_trip(held)
                await held.raw.execute(identity.switch())
            except BaseException as error:
                self.discard(held)
                if held.is_spoiled(error):
                    continue
                if isinstance(error, Exception):
                    raise refused_role(error) from error
                raise
            held.identity = identity
            return held

    async def acquire_bare(self) -> Held:
        """Return a connection in an unknown state; whoever speaks for a caller resets it first.

        Raises:
            Unavailable: no connection came free in time, or Postgres cannot be reached.
        """
        held = self.take(None) or await self._take_any()
        held.identity = None
        return held

    def release(self, held: Held) -> None:
        """Give a connection back in the state its `identity` says."""
        # How old it is is looked at when it is taken again.
        if self._closed or held.raw.is_closed() or held.raw.is_in_transaction():
            self.discard(held)
            return
        self._used.discard(held)
        held.used = True
        self._offer(held)

    def discard(self, held: Held) -> None:
        """Close a connection whose state is unknown, cancelling what it may still be doing."""
        self._used.discard(held)
        self._end(held)
        self._offer(None)

    def cut(self) -> None:
        """Break every connection off: Postgres has gone silent, and nobody shall wait for it."""
        for held in (*self._used, *self._idle):
            held.raw.terminate()

    def silence(self, *, silent: bool) -> None:
        """Refuse callers at once while Postgres is known not to answer."""
        self._silent = silent

    async def close(self) -> None:
        """Close every idle connection; those in use are closed when they come back."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable("the server is shutting down"))
        self._waiters.clear()
        for held in list(self._idle):
            self._forget(held)
            self.discard(held)
        if self._closing:
            await asyncio.wait(self._closing, timeout=5)

    def _good(self, held: Held) -> bool:
        return not held.raw.is_closed() and time.monotonic() - held.born <= self._max_age

    async def _time_trip(self, held: Held) -> None:
        began = time.monotonic()
        await held.raw.execute("SELECT")
        self.batcher.note_trip(time.monotonic() - began)

    def _forget(self, held: Held) -> None:
        del self._idle[held]
        same = self._by_identity[held.identity]
        same.remove(held)
        if not same:
            del self._by_identity[held.identity]

    async def _take_any(self) -> Held:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                held = await self._claim() or await self._connect()
        except TimeoutError:
            raise Unavailable("no database connection came free in time") from None
        self._used.add(held)
        return held

    async def _claim(self) -> Held | None:
        """Return a connection of any identity, or `None`: the right to open one."""
        if self._closed:
            raise Unavailable("the server is shutting down")
        if self._silent:
            raise Unavailable("the database does not answer")
        if self._open < self.size:
            self._open += 1
            return None
        if self._idle:
            held = next(iter(self._idle))
            self._forget(held)
            if self._good(held):
                return held
            self._end(held)
            return None
        return await self._wait()

    async def _wait(self) -> Held | None:
        waiter: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._offer(waiter.result())  # given and cancelled at once: it goes to the next
            raise

    def _offer(self, held: Held | None) -> None:
        """Hand a connection, or the right to open one, to who waits longest; else keep it.

        Handed over and not just announced: a caller who comes back at once must not overtake.
        """
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(held)
                return
        if held is None:
            self._open -= 1
            return
        self._idle[held] = None
        same = self._by_identity.get(held.identity)
        if same is None:
            self._by_identity[held.identity] = [held]
        else:
            same.append(held)

    def _end(self, held: Held) -> None:
        if not held.raw.is_closed():
            task = asyncio.ensure_future(_close(held.raw))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _connect(self) -> Held:
        try:
            raw = await connect(
                self._url,
                settings=self._settings,
                seconds=self._connect_timeout,
                statement_cache_size=self._cache,
            )
        except BaseException:
            self._offer(None)
            raise
        return Held(raw)


async def connect(
    url: str, *, settings: Mapping[str, str], seconds: float, statement_cache_size: int = 256
) -> Line:
    """Open one connection.

    Raises:
        Unavailable: Postgres cannot be reached or refuses the login.
    """
    try:
        return await asyncpg.connect(
            url,
            server_settings=dict(settings),
            timeout=seconds,
            statement_cache_size=statement_cache_size,
            max_cached_statement_lifetime=0,
            connection_class=Line,
        )
    except (*CONNECTION_ERRORS, asyncpg.PostgresError, TimeoutError, ValueError) as error:
        raise Unavailable("the database cannot be reached") from error


async def _close(raw: Connection) -> None:
    # close() also asks Postgres to cancel what still runs; when even that hangs, cut the line and
    # let the server notice by itself (client_connection_check_interval).
    try:
        await raw.close(timeout=1)
    except (TimeoutError, *CONNECTION_ERRORS, asyncpg.PostgresError):
        raw.terminate()
