"""The MCP endpoint in HTTP: one POST ↔ one answer; it must not know any method or tool.

The order of a call: credential → rate limit → size → JSON → the dispatcher. Nothing of the body
is read for a caller who is not admitted.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import (
    FluxbaseError,
    InternalError,
    InvalidMessage,
    TooLarge,
    UnknownResource,
)
from fluxbase.http.disconnect import ClientGone, run_until_disconnect
from fluxbase.http.gate import quota_headers, refusal_headers
from fluxbase.mcp import wire
from fluxbase.mcp.dispatch import Reply
from fluxbase.strict_json import loads
from fluxbase.toolkit.toolbox import Request

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from fluxbase.http.gate import Gate
    from fluxbase.limits.rate import Quota
    from fluxbase.mcp.dispatch import Charge, Dispatcher
    from fluxbase.observe import Observer

log = logging.getLogger(__name__)

# Ids tell requests apart in logs; they are no secret, so a counter after a random start will do.
_RUN: Final = secrets.token_hex(4)
_NUMBERS: Final = itertools.count()
_TYPE: Final = (b"content-type", b"application/json")
_VERSION: Final = "mcp-protocol-version"
_SESSION: Final = "mcp-session-id"
_KEPT: Final = frozenset((_VERSION.encode(), b"mcp-method", b"mcp-name", _SESSION.encode()))
Headers = list[tuple[bytes, bytes]]


class UnsupportedMediaType(InvalidMessage):
    """The body is not declared as JSON."""

    title, status = "The Content-Type must be application/json", 415


class MethodNotAllowed(InvalidMessage):
    """The endpoint answers POST; it keeps no stream to GET and no session to DELETE."""

    title, status = "Only POST is answered here", 405


class UnknownSession(UnknownResource):
    """A session id was sent that this server did not issue."""

    title, status = "No such session; initialize again", 404


class McpEndpoint:
    """An ASGI application for one path."""

    def __init__(
        self, gate: Gate, dispatcher: Dispatcher, observer: Observer, *, max_size: int
    ) -> None:
        self._gate = gate
        self._dispatcher = dispatcher
        self._observer = observer
        self._max_size = max_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = f"{_RUN}{next(_NUMBERS):08x}"
        extra: Headers = [(b"x-request-id", request_id.encode())]
        quotas: list[Quota] = []
        try:
            reply = await self._answer(scope, receive, request_id, quotas)
        except ClientGone:
            return
        except FluxbaseError as error:
            reply = self._refusal(error, scope)
            extra += refusal_headers(error)
        except Exception:
            log.exception("request %s failed", request_id)
            reply = self._refusal(InternalError(hint=f"request {request_id}"), scope)
        if quotas and not any(name == b"ratelimit" for name, _ in extra):
            extra += quota_headers(quotas[-1])
        if reply.status == 405:
            extra.append((b"allow", b"POST"))
        if reply.retry_after is not None:
            extra.append((b"retry-after", str(reply.retry_after).encode()))
        await _send(send, reply.status, reply.body, extra)

    async def _answer(
        self, scope: Scope, receive: Receive, request_id: str, quotas: list[Quota]
    ) -> Reply:
        if scope["method"] != "POST":
            raise MethodNotAllowed
        client = scope.get("client")
        remote = client[0] if client else None
        admitted = await self._gate.admit(scope["headers"], remote, request_id)
        quotas.append(admitted.quota)

        async def charge() -> None:
            quotas.append(await self._gate.charge(admitted.who))

        kept = _checked_headers(scope["headers"], self._max_size)
        body = await _read(receive, self._max_size)
        request = Request(admitted.who, request_id, remote)
        return await run_until_disconnect(self._dispatch(request, body, kept, charge), receive)

    async def _dispatch(
        self, request: Request, body: bytes, headers: dict[str, str], charge: Charge
    ) -> Reply:
        try:
            decoded = loads(body)
        except InvalidMessage as error:
            raise wire.ProtocolError(wire.PARSE_ERROR, error.message) from None
        return await self._dispatcher.handle(request, decoded, headers, charge)

    def _refusal(self, error: FluxbaseError, scope: Scope) -> Reply:
        self._observer.refused.labels(error.code).inc()
        spoken = [v for name, v in scope["headers"] if name == _VERSION.encode()]
        modern = any(v.decode("latin-1").strip(" \t") in wire.MODERN for v in spoken)
        return Reply(wire.failure(error, modern=modern), error.status)


def _checked_headers(headers: Headers, max_size: int) -> dict[str, str]:
    """Return the protocol's own headers, after the type and the length were judged."""
    kept: dict[str, str] = {}
    types: list[bytes] = []
    for name, value in headers:
        if name == b"content-type":
            types.append(value.partition(b";")[0].strip().lower())
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("The body must be sent without a Content-Encoding")
        elif name == b"content-length" and int(value) > max_size:
            raise TooLarge(f"a message may have at most {max_size} bytes")
        elif name in _KEPT:
            _keep(kept, name.decode(), value)
    # The modern era has no sessions and wants their ids ignored.
    if _SESSION in kept and kept.get(_VERSION) not in wire.MODERN:
        raise UnknownSession
    if types != [b"application/json"]:
        raise UnsupportedMediaType
    return kept


def _keep(kept: dict[str, str], name: str, value: bytes) -> None:
    # httptools leaves blanks at the end of a value, which other servers take off. A header sent
    # twice is one with a comma (RFC 9110, 5.3), so that it equals nothing in the body.
    text = value.strip(b" \t").decode("latin-1")
    kept[name] = f"{kept[name]}, {text}" if name in kept else text


async def _read(receive: Receive, max_size: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        event: Any = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = event.get("body", b"")
        size += len(chunk)
        if size > max_size:
            raise TooLarge(f"a message may have at most {max_size} bytes")
        chunks.append(chunk)
        if not event.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _send(send: Send, status: int, body: bytes | None, extra: Headers) -> None:
    headers = list(extra)
    if body is not None:
        headers += [_TYPE, (b"content-length", str(len(body)).encode())]
    else:
        headers.append((b"content-length", b"0"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body or b""})
