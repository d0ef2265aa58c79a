"""One request and its answer on a connection; it must not know routes, callers or what is served.

It is uvicorn's own cycle, so every ASGI application runs on it. Who is handed its `receive` with
nothing in between may also ask it directly, which costs a fraction: the body as it lies there, an
answer in one write, and word of the client's leaving without a task that listens for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from fluxbase.errors import TooLarge
from fluxbase.http.disconnect import ClientGone

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from fluxbase.http.disconnect import Receive
    from fluxbase.http.head import Headers

T = TypeVar("T")

_MOMENT: Final = 0.1  # seconds that work goes on although nobody waits for it any more
_CLOSE: Final = b"connection: close\r\n\r\n"


class Exchange(RequestResponseCycle):
    """uvicorn's cycle, and a shorter way through it for who knows it."""

    task: asyncio.Task[Any]  # that of the request
    _works = _gone = _detached = False

    @classmethod
    def of(cls, protocol: Any, scope: Any, *, keep_alive: bool) -> Exchange:
        """Return the exchange of the request that a protocol of uvicorn's has just read."""
        return cls(
            scope,
            protocol.transport,
            protocol.flow,
            protocol.logger,
            protocol.access_logger,
            protocol.access_log,
            protocol.server_state.default_headers,
            asyncio.Event(),
            protocol.expect_100_continue,
            keep_alive,
            protocol.on_response_complete,
        )

    def cut_off(self) -> None:
        """Note that the client has gone; what does not end by itself in a moment is stopped.

        To stop it costs more than what is left of most calls: a connection to Postgres whose
        statement was given up is not used again.
        """
        self.disconnected = True
        self.message_event.set()
        if self._works:
            self.task.get_loop().call_later(_MOMENT, self._stop)

    def _stop(self) -> None:
        if self._works and not self._gone and not self._detached:
            self._gone = True
            self.task.cancel()

    async def read(self, most: int) -> bytes:
        """Return the body.

        Raises:
            TooLarge: it has more than `most` bytes.
            ClientGone: the client left before its end.
        """
        if self.more_body or self.disconnected:
            check_length(cast("Headers", self.scope["headers"]), most)
            return await read_body(cast("Receive", self.receive), most)
        if len(self.body) > most:
            raise too_large(most)
        self.flow.resume_reading()
        return bytes(self.body)

    def detach(self) -> None:
        """Let the work go on although the client leaves: it may come back for the rest."""
        self._detached = True

    async def until_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; raise `ClientGone` if the client leaves before it ends.

        It runs in the task of the request. A cancellation from outside stays one. Work that
        swallows its cancellation keeps its result.
        """
        if self.disconnected:
            work.close()
            raise ClientGone
        task = self.task
        before = task.cancelling()
        self._works = True
        try:
            return await work
        except asyncio.CancelledError:
            # Our own request is taken back in `finally`; one more left over came from outside.
            if self._gone and task.cancelling() - 1 <= before:
                raise ClientGone from None
            raise
        finally:
            self._works = False
            if self._gone:
                task.uncancel()

    async def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send the whole answer to a request that is no HEAD.

        `headers` are trusted to be well formed, and to say nothing of the body's length or of the
        connection.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        lines = [STATUS_LINE[status]]
        for name, value in self.default_headers:
            lines += (name, b": ", value, b"\r\n")
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"content-length: %d\r\n" % len(body))
        lines += (b"\r\n" if self.keep_alive else _CLOSE, body)
        self.transport.write(b"".join(lines))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def check_length(headers: Headers, most: int) -> None:
    """Refuse a body before it has come.

    Raises:
        TooLarge: it is announced as longer than `most` bytes.
    """
    for name, value in headers:
        if name == b"content-length" and int(value) > most:
            raise too_large(most)


async def read_body(receive: Receive, most: int) -> bytes:
    """Return the body that an ASGI server hands out in parts.

    Raises:
        TooLarge: it has more than `most` bytes.
        ClientGone: the client left before its end.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = event.get("body", b"")
        size += len(chunk)
        if size > most:
            raise too_large(most)
        chunks.append(chunk)
        if not event.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(most: int) -> TooLarge:
    """Return the refusal of a longer body."""
    return TooLarge(f"a message may have at most {most} bytes")
