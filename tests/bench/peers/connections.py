"""A fixed set of connections for bare contestants, without any reset: the least there can be."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Connections:
    """Connections taken by who waits first, the last one given back first."""

    def __init__(self) -> None:
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()

    async def open(self, url: str, size: int, settings: dict[str, str]) -> None:
        """Open all of them."""
        for _ in range(size):
            conn: Any = await asyncpg.connect(url, server_settings=settings)
            await conn.execute("SET jit = off")
            self._free.put_nowait(conn)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Any]:
        """Lend one for as long as the block lasts."""
        conn = await self._free.get()
        try:
            yield conn
        finally:
            self._free.put_nowait(conn)
