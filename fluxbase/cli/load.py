"""Puts load on an MCP endpoint over kept connections and counts; it must not judge the numbers."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import orjson

from fluxbase.errors import InvalidArgument, InvalidMessage, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE: Final = 60.0
_LONGEST: Final = 64 * 1024 * 1024
_HEADERS: Final = {"fbk": "X-Client-Key", "fbs": "X-Service-Key"}
RATE_LIMITED: Final = "FLX501"


class Answer(NamedTuple):
    """What came back: the status, the headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, and the bytes of the one request that is sent over and over."""

    url: str
    host: str
    port: int
    tls: bool
    credential: tuple[bytes, bytes] = field(repr=False)
    request: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str, key: str, arguments: dict[str, Any]) -> Target:
        """Return the target for one call of `query_table`.

        Raises:
            InvalidArgument: the address or the key cannot be one.
        """
        try:
            parts = urlsplit(url)
            tls, host = parts.scheme == "https", parts.hostname or ""
            port = parts.port or (443 if tls else 80)
        except ValueError:
            raise _not_an_address() from None
        if parts.scheme not in ("http", "https") or not host or not url.isascii():
            raise _not_an_address()
        if not key.isascii() or not key.isprintable() or not key:
            raise InvalidArgument("--key: this is not a key")
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "query_table", "arguments": arguments},
        }
        body = orjson.dumps(message)
        name = _HEADERS.get(key[:3], "Authorization")
        value = key if name != "Authorization" else f"Bearer {key}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            f"Content-Type: application/json\r\nAccept: application/json\r\n"
            f"{name}: {value}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        credential = (name.lower().encode(), value.encode())
        return cls(url, host, port, tls, credential, head.encode() + body)


@dataclass(slots=True)
class Tally:
    """What a load came to: seconds of each good call, and how many failed by code."""

    taken: list[float] = field(default_factory=list[float])
    errors: Counter[str] = field(default_factory=Counter[str])
    bytes: int = 0
    seconds: float = 0.0
    limited: bool = False

    def add(self, answer: Answer, seconds: float) -> None:
        """Count one answer."""
        code = code_of(answer)
        if code is None:
            self.taken.append(seconds)
            self.bytes += len(answer.body)
        else:
            self.errors[code] += 1
            self.limited = self.limited or code == RATE_LIMITED


async def ask_once(target: Target) -> Answer:
    """Return the answer to one call.

    Raises:
        Unavailable: nobody answers there.
        InvalidMessage: what answers does not speak HTTP.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await _connect(target)
            try:
                return await _exchange(target, reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        raise Unavailable(f"{target.url} does not answer") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Unavailable(
            f"{target.url} cannot be called ({type(error).__name__})",
            hint="is the server running there?",
        ) from None


async def load(
    target: Target, connections: int, seconds: float, on_progress: Callable[[float, int], None]
) -> Tally:
    """Call over and over on every connection; end early when the calls of the key are used up."""
    tally = Tally()
    began = time.perf_counter()
    end = began + seconds
    lines = [asyncio.ensure_future(_line(target, tally, end)) for _ in range(connections)]
    try:
        while (await asyncio.wait(lines, timeout=0.25))[1]:
            on_progress(time.perf_counter() - began, len(tally.taken))
    finally:
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
    tally.seconds = time.perf_counter() - began
    return tally


async def _line(target: Target, tally: Tally, end: float) -> None:
    clock = time.perf_counter
    while clock() < end and not tally.limited:
        try:
            reader, writer = await _connect(target)
        except OSError:
            tally.errors["connect"] += 1
            await asyncio.sleep(0.1)
            continue
        try:
            while clock() < end and not tally.limited:
                began = clock()
                async with asyncio.timeout(_PATIENCE):
                    answer = await _exchange(target, reader, writer)
                tally.add(answer, clock() - began)
                if answer.headers.get("connection") == "close":
                    break
        except (OSError, TimeoutError, asyncio.IncompleteReadError, InvalidMessage):
            tally.errors["connection"] += 1
        finally:
            writer.close()


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = ssl.create_default_context() if target.tls else None
    return await asyncio.open_connection(target.host, target.port, ssl=tls, limit=1 << 20)


async def _exchange(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Answer:
    writer.write(target.request)
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first.split(" ", 2)[1])
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, await _chunks(reader))
        length = int(headers["content-length"])
    except (ValueError, LookupError, asyncio.LimitOverrunError):
        raise InvalidMessage(f"{target.url} does not answer as an MCP endpoint does") from None
    if length > _LONGEST:
        raise InvalidMessage("an answer is too long")
    return Answer(status, headers, await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while (size := int((await reader.readline()).partition(b";")[0], 16)) > 0:
        parts.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return b"".join(parts)


def code_of(answer: Answer) -> str | None:
    """Return the error code of an answer; `None` for a good one."""
    # Looked for as bytes first: to read every answer would take the time that is measured.
    if answer.status == 200 and b'"isError":true' not in answer.body:
        return None
    fault = fault_of(answer)
    return None if fault is None else str(fault.get("code", answer.status))


def fault_of(answer: Answer) -> dict[str, Any] | None:
    """Return code, message and hint of a refusal; `None` when the answer is good."""
    found: Any = None
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(answer.body)
    if not isinstance(found, dict):
        return {"code": str(answer.status)}
    body = cast("dict[str, Any]", found)
    result: dict[str, Any] = body.get("result") or {}
    if result.get("isError"):
        return _told(result.get("_meta")) or {"code": "tool error"}
    error: Any = body.get("error")
    if isinstance(error, dict):
        outer = cast("dict[str, Any]", error)
        told = _told(outer) or {"code": str(answer.status)}
        return {"message": outer.get("message"), **told}
    return None if answer.status == 200 else {"code": str(answer.status)}


def _told(found: Any) -> dict[str, Any] | None:
    """Return the part of an error that has our code in it, wherever that stands."""
    if not isinstance(found, dict):
        return None
    inner = cast("dict[str, Any]", found)
    if isinstance(inner.get("code"), str):
        return inner
    return next((told for told in map(_told, inner.values()) if told), None)


def _not_an_address() -> InvalidArgument:
    return InvalidArgument(
        "--url: this is not an address", hint="write one such as http://127.0.0.1:8080/mcp"
    )
