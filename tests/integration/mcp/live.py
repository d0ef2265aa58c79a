"""A server on a socket, and clients that read its streams event by event."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.http.server import bind, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from fluxbase.app.server import Server

BOUND = 10.0
BOTH = "application/json, text/event-stream"


@dataclass
class Event:
    """One server-sent event."""

    data: str = ""
    id: str | None = None
    retry: int | None = None

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.data)


@dataclass
class Stream:
    """A response that is a stream of events; waits are bounded."""

    response: httpx2.Response
    _lines: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    async def event(self) -> Event | None:
        """Return the next event, `None` at the end; comments are passed over."""
        found = Event()
        seen = False
        async with asyncio.timeout(BOUND):
            async for line in self._lines:
                if not line:
                    if seen:
                        return found
                    continue
                name, _, value = line.partition(":")
                if name:
                    seen = True
                    self._note(found, name, value.removeprefix(" "))
        return None

    @staticmethod
    def _note(found: Event, name: str, value: str) -> None:
        if name == "data":
            found.data += value
        elif name == "id":
            found.id = value
        elif name == "retry":
            found.retry = int(value)

    async def message(self) -> dict[str, Any]:
        """Return the next message that says something."""
        while True:
            event = await self.event()
            assert event is not None, "the stream ended"
            if event.data:
                return event.message

    async def rest(self) -> list[dict[str, Any]]:
        """Return all messages up to the end."""
        found: list[dict[str, Any]] = []
        while (event := await self.event()) is not None:
            if event.data:
                found.append(event.message)
        return found


@dataclass
class Client:
    """A client of one key that speaks a version with sessions."""

    http: httpx2.AsyncClient
    key: str
    version: str = "2025-11-25"
    session: str | None = None
    path: str = "/mcp"

    @property
    def headers(self) -> dict[str, str]:
        kind = "X-Service-Key" if self.key.startswith("fbs_") else "X-Client-Key"
        sent = {kind: self.key, "Accept": BOTH}
        if self.session is not None:
            sent |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.version}
        return sent

    async def initialize(self, **capabilities: Any) -> httpx2.Response:
        params = {"protocolVersion": self.version, "capabilities": capabilities}
        answer = await self.post("initialize", 1, **params)
        self.session = answer.headers.get("mcp-session-id")
        return answer

    async def post(self, method: str, id_: int | str | None = 1, **params: Any) -> httpx2.Response:
        return await self.send(request(method, id_, **params))

    async def send(self, body: Any) -> httpx2.Response:
        return await self.http.post(self.path, json=body, headers=self.headers)

    @asynccontextmanager
    async def stream(
        self, method: str, id_: int | str = 1, **params: Any
    ) -> AsyncGenerator[Stream]:
        """Post a request of which the answer is a stream."""
        async with self.http.stream(
            "POST", self.path, json=request(method, id_, **params), headers=self.headers
        ) as response:
            assert response.headers["content-type"] == "text/event-stream", await response.aread()
            yield Stream(response)

    @asynccontextmanager
    async def listen(self, last: str | None = None) -> AsyncGenerator[Stream]:
        """Open the GET stream of the session."""
        headers = self.headers | ({"Last-Event-ID": last} if last is not None else {})
        async with self.http.stream("GET", self.path, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            yield Stream(response)

    async def end(self) -> httpx2.Response:
        return await self.http.delete(self.path, headers=self.headers)


async def until(look: Callable[[], Awaitable[Any]], wanted: object) -> None:
    """Look again and again until it is as wanted; bounded."""
    async with asyncio.timeout(BOUND):
        for _ in range(1000):
            if await look() == wanted:
                return
            await asyncio.sleep(0.02)


def request(method: str, id_: int | str | None = 1, **params: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if id_ is None else {**message, "id": id_}


@asynccontextmanager
async def listening(app: Server) -> AsyncGenerator[httpx2.AsyncClient]:
    """Serve an application on a socket and yield a client of it."""
    ready = asyncio.Event()
    listener = bind("127.0.0.1", 0)
    number: int = listener.getsockname()[1]
    task = asyncio.ensure_future(
        serve(app, sockets=[listener], on_ready=ready.set, on_drain=app.drain, drain_timeout=5)
    )
    async with asyncio.timeout(BOUND):
        await ready.wait()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{number}",
        headers={"Host": "test"},
        timeout=BOUND,
        limits=limits,
    ) as client:
        yield client
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
