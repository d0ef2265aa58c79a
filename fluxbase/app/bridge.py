"""Carries lines of a local client to a server elsewhere, and back; it must not read what they ask.

It knows as much of the protocol as a transport has to: sessions, versions and event streams.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from fluxbase.errors import InvalidMessage, Unavailable
from fluxbase.mcp import wire
from fluxbase.mcp.inbound import id_of
from fluxbase.mcp.outline import headers_of, member, method_of
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Write = Callable[[bytes], Awaitable[None]]

_SESSION: Final = "Mcp-Session-Id"
_VERSION: Final = "MCP-Protocol-Version"
_STREAM: Final = "text/event-stream"
_PATIENCE: Final = 5.0
_LONGEST: Final = 64 * 1024 * 1024
_PAUSE: Final = 1.0


class Bridge:
    """One client and one server."""

    def __init__(self, url: str, header: tuple[str, str], write: Write) -> None:
        self._url = url
        self._header = header
        self._write = write
        self._said: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, lines: AsyncIterator[bytes]) -> None:
        """Carry every line until there are no more, then say goodbye to the server."""
        timeout = aiohttp.ClientTimeout(total=None, connect=10)
        headers = {self._header[0]: self._header[1], "Accept": f"application/json, {_STREAM}"}
        async with aiohttp.ClientSession(
            headers=headers, timeout=timeout, trust_env=True, read_bufsize=2**20
        ) as http:
            self._http = http
            async for line in lines:
                if line.strip():
                    await self._carry(line)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_PATIENCE)
            for task in self._tasks:
                task.cancel()
            if _SESSION in self._said:
                with suppress(aiohttp.ClientError):
                    await http.delete(self._url, headers=self._said)

    async def _carry(self, line: bytes) -> None:
        try:
            body = loads(line)
        except InvalidMessage as error:
            refusal = wire.ProtocolError(wire.PARSE_ERROR, error.message)
            await self._write(wire.failure(refusal))
            return
        method = method_of(body)
        # What follows depends on the answer to these two.
        if method in {"initialize", "notifications/initialized"}:
            await self._post(line, body)
        else:
            self._start(self._post(line, body))
        if method == "notifications/initialized" and _SESSION in self._said:
            self._start(self._listen())

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, line: bytes, body: object) -> None:
        headers = {"Content-Type": "application/json", **self._said, **headers_of(body)}
        try:
            async with self._http.post(self._url, data=line, headers=headers) as answer:
                if _SESSION in answer.headers:
                    self._said[_SESSION] = answer.headers[_SESSION]
                if answer.content_type == _STREAM:
                    await self._pass_on(answer)
                    return
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            await self._tell_lost(body)
            return
        if content.strip():
            self._note_version(content)
            await self._write(_with_id(content, body))

    async def _listen(self) -> None:
        """Keep the session's own stream open, again whenever it ends."""
        headers = dict(self._said)
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.get(self._url, headers=headers) as answer:
                    if answer.status != 200:
                        return
                    last = await self._pass_on(answer)
                    if last is not None:
                        headers["Last-Event-ID"] = last
            await asyncio.sleep(_PAUSE)

    async def _pass_on(self, answer: aiohttp.ClientResponse) -> str | None:
        """Write the messages of a stream, and return the id of its last event."""
        last: str | None = None
        data = b""
        while raw := await answer.content.readuntil(b"\n"):
            line = raw.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                data += line[5:].strip()
            elif line.startswith(b"id:"):
                last = line[3:].strip().decode()
            elif not line and data:
                self._note_version(data)
                await self._write(data)
                data = b""
        return last

    def _note_version(self, content: bytes) -> None:
        if _VERSION in self._said or b'"protocolVersion"' not in content:
            return
        result = member(orjson.loads(content), "result")
        version = member(result, "protocolVersion")
        if isinstance(version, str):
            self._said[_VERSION] = version

    async def _tell_lost(self, body: object) -> None:
        request = id_of(body)
        if request is not None and method_of(body):
            lost = Unavailable(
                "the server cannot be reached", hint="is it running, is --url right?"
            )
            await self._write(wire.failure(lost, request))


def _with_id(content: bytes, body: object) -> bytes:
    """Return an answer on one line, with the id that a refusal before the body could not know."""
    found: Any = orjson.loads(content)
    if member(found, "error") is not None and member(found, "id") is None:
        found["id"] = id_of(body)
    return orjson.dumps(found)
