"""Hears what other sessions announce; it must not act on it beyond calling back.

One connection listens on every channel. When it is lost, callbacks are told once it is back, with
an empty payload: something may have been missed, so everything remembered must go.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.db.errors import CONNECTION_ERRORS
from fluxbase.db.pool import connect
from fluxbase.errors import FluxbaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.db.types import Connection

log = logging.getLogger(__name__)

_PATIENCE: Final = 3.0


class Listener:
    """Keeps one listening connection alive."""

    def __init__(
        self,
        url: Callable[[], str],
        channels: Mapping[str, Callable[[str], None]],
        *,
        check_every: float = 1.0,
    ) -> None:
        self._url = url
        self._channels = channels
        self._check_every = check_every
        self.connected = False

    async def run(self) -> None:
        """Listen until cancelled, reconnecting with a growing pause."""
        pause = 0.1
        while True:
            with suppress(FluxbaseError, *CONNECTION_ERRORS, asyncpg.PostgresError, TimeoutError):
                conn = await connect(
                    self._url(), settings={"application_name": "fluxbase listen"}, seconds=5
                )
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await self._subscribe(conn)
                    pause = 0.1
                    await self._watch(conn)
                finally:
                    self.connected = False
                    conn.terminate()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def _subscribe(self, conn: Connection) -> None:
        for channel, callback in self._channels.items():

            def heard(
                _conn: object,
                _pid: int,
                _channel: str,
                payload: object,
                callback: Callable[[str], None] = callback,
            ) -> None:
                callback(str(payload))

            await conn.add_listener(channel, heard)
        self.connected = True
        for callback in self._channels.values():
            callback("")

    async def _watch(self, conn: Connection) -> None:
        # A half-open line is only noticed by speaking on it.
        while not conn.is_closed():
            await asyncio.sleep(self._check_every)
            await conn.execute("SELECT 1", timeout=_PATIENCE)
