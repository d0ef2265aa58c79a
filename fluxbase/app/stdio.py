"""Serves one client by lines of text, as local clients want it; it must not know any method.

Source: MCP, transports, stdio: one JSON-RPC message a line, either way.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import FluxbaseError, InvalidMessage, Unauthenticated
from fluxbase.http.headers import Said
from fluxbase.mcp import wire
from fluxbase.mcp.inbound import id_of
from fluxbase.mcp.outline import headers_of, method_of
from fluxbase.mcp.turn import Turn
from fluxbase.strict_json import loads
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from fluxbase.app.server import Server
    from fluxbase.principal import Principal
    from fluxbase.sessions.book import Session

    Write = Callable[[bytes], Awaitable[None]]

_PATIENCE: Final = 5.0
_INITIALIZED: Final = "notifications/initialized"


class Line:
    """The way back: every message is a line."""

    def __init__(self, write: Write) -> None:
        self._write = write

    async def send(self, message: bytes, *, name: str | None = None) -> None:
        """Send one message; nobody comes back for one, so it needs no name."""
        del name
        if message:
            await self._write(message)

    async def ping(self) -> None:
        """Do nothing: a pipe does not fall asleep."""

    async def hang_up(self) -> None:
        """Do nothing: there is no other way to come back by."""


class Stdio:
    """One client for as long as it is there."""

    def __init__(self, server: Server, header: tuple[bytes, bytes], write: Write) -> None:
        self._server = server
        self._headers = [header]
        self._write = write
        self._line = Line(write)
        self._session: str | None = None
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def recognize(self) -> Principal:
        """Return whose key it is, before anything is served.

        Raises:
            Unauthenticated: it is nobody's.
        """
        return await self._server.gate.recognize(self._headers, "127.0.0.1")

    async def serve(self, lines: AsyncIterator[bytes]) -> None:
        """Answer every line until there are no more, then finish what still runs."""
        async for line in lines:
            if line.strip():
                self._start(self._answer(line))
        for task in [t for t in self._tasks if t.get_name() == "stream"]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            with suppress(FluxbaseError):
                await self._server.lines.sessions.end(await self.recognize(), self._session)

    def _start(self, work: Coroutine[Any, Any, None], name: str = "call") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, line: bytes) -> None:
        body: object = None
        try:
            body = loads(line)
            answer = await self._handled(body)
        except InvalidMessage as error:
            answer = wire.failure(wire.ProtocolError(wire.PARSE_ERROR, error.message))
        except FluxbaseError as error:
            answer = wire.failure(error, id_of(body))
        if answer is not None:
            await self._write(answer)

    async def _handled(self, body: object) -> bytes | None:
        number = f"stdio-{next(self._numbers)}"
        gate = self._server.gate
        who, _ = await gate.admit(self._headers, "127.0.0.1", number)

        async def charge() -> None:
            await gate.charge(who)

        turn = Turn(
            Request(who, number, None),
            Said(headers_of(body)),
            charge,
            await self._current(who),
            self._line,
            self.recognize,
            self._opened,
        )
        reply = await self._server.dispatcher.handle(turn, body)
        if method_of(body) == _INITIALIZED and turn.session is not None:
            self._start(self._follow(turn), "stream")
        return reply.body

    async def _follow(self, turn: Turn) -> None:
        with suppress(FluxbaseError):
            await self._server.dispatcher.follow(turn, self._line, None)

    async def _current(self, who: Principal) -> Session | None:
        if self._session is None:
            return None
        session = await self._server.lines.sessions.find(who, self._session)
        if session is None:
            raise Unauthenticated("the session is over; start the client again")
        return session

    def _opened(self, session: str) -> None:
        self._session = session
