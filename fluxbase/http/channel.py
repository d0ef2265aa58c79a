"""The way back to a client as an event stream; it must not know what the messages say.

An answer stays plain JSON until something has to be told before it: only then does the response
begin as a stream. Sources: HTML, server-sent events; MCP 2025-11-25 and 2026-07-28, transports.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Send

    from fluxbase.sessions.events import Stream

    Headers = list[tuple[bytes, bytes]]

RETRY_MS: Final = 1000
_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-content-type-options", b"nosniff"),
    # nginx collects what it passes on unless it is told not to.
    (b"x-accel-buffering", b"no"),
)


def event(message: bytes, name: str | None = None, retry: int | None = None) -> bytes:
    """Return one event; JSON has no line ends outside of its texts, and those are escaped."""
    lines = [b"id: " + name.encode() + b"\n"] if name is not None else []
    if retry is not None:
        lines.append(b"retry: %d\n" % retry)
    return b"".join((*lines, b"data: " if message else b"data:", message, b"\n\n"))


class Channel:
    """The response to one request.

    Args:
        send: takes the parts of the response.
        headers: returns what it carries beside those of a stream.
        kept: keeps what is sent, for a client that comes back for it; `None` where none can.
        primes: the client's version knows an empty first event that only carries an id.
        detach: is called when the work shall go on although its client leaves.
    """

    __slots__ = (
        "_detach",
        "_headers",
        "_kept",
        "_lock",
        "_over",
        "_primes",
        "_send",
        "opened",
    )

    def __init__(
        self,
        send: Send,
        headers: Callable[[], Headers],
        *,
        kept: Stream | None = None,
        primes: bool = False,
        detach: Callable[[], None] | None = None,
    ) -> None:
        self._send = send
        self._headers = headers
        self._kept = kept
        self._primes = primes
        self._detach = detach
        self._lock: asyncio.Lock | None = None  # most requests never need it
        self._over = False
        self.opened = False

    async def open(self) -> None:
        """Begin the response as a stream, if it has not begun."""
        async with self._in_turn():
            await self._open()

    async def send(self, message: bytes, *, name: str | None = None, last: bool = False) -> None:
        """Send one message, under a `name` or under one by which it is kept."""
        async with self._in_turn():
            await self._open()
            if self._kept is not None and name is None:
                name = await self._kept.keep(message, last=last)
            await self._write(event(message, name))

    async def ping(self) -> None:
        """Send a comment: it keeps those between from closing a silent connection."""
        async with self._in_turn():
            await self._open()
            await self._write(b": \n\n")

    async def hang_up(self) -> None:
        """End the response where the client can come back for the rest; else do nothing."""
        if self._kept is None or not self._primes:
            return
        async with self._in_turn():
            await self._open()
            await self._end()

    async def finish(self, message: bytes | None) -> None:
        """Send the last message and end the response."""
        if message is not None:
            await self.send(message, last=True)
        async with self._in_turn():
            await self._end()

    def _in_turn(self) -> asyncio.Lock:
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    async def _open(self) -> None:
        if self.opened:
            return
        self.opened = True
        headers = [*self._headers(), *_HEADERS]
        if self._kept is not None and self._detach is not None:
            self._detach()
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._primes and self._kept is not None:
            name = await self._kept.keep(b"")
            if name is not None:
                await self._write(event(b"", name, RETRY_MS))

    async def _end(self) -> None:
        if self.opened and not self._over:
            self._over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, data: bytes) -> None:
        if not self._over:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
