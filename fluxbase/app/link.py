"""Messages between a server's parent process and one worker; it must not know what they mean."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    import socket

Message = dict[str, Any]
_SIZE: Final = struct.Struct("=I")


class Link:
    """One end of a pair of sockets that nobody else has: both ends are this program."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Link:
        """Return the link that speaks over a connected socket, and owns it from now on."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, kind: str, **fields: object) -> None:
        """Send a message; nobody hears it when the other process is gone."""
        body = orjson.dumps({"kind": kind, **fields})
        with suppress(OSError, RuntimeError):
            self._writer.write(_SIZE.pack(len(body)) + body)

    async def receive(self) -> Message | None:
        """Return the next message, or `None` when the other process is gone."""
        try:
            size = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))[0]
            return orjson.loads(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def flush(self) -> None:
        """Return when what was sent is on its way."""
        with suppress(OSError):
            await self._writer.drain()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
