"""The MCP endpoint in HTTP: one POST ↔ one answer; it must not know any method or tool.

The order of a call: credential → rate limit → size → JSON → the dispatcher. Nothing of the body
is read for a caller who is not admitted.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import FluxbaseError, InvalidMessage, TooLarge, UnknownResource
from fluxbase.http.disconnect import ClientGone, run_until_disconnect
from fluxbase.http.gate import quota_headers, refusal_headers
from fluxbase.mcp import wire
from fluxbase.strict_json import loads
from fluxbase.toolkit.toolbox import Request

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from fluxbase.http.gate import Admitted, Gate
    from fluxbase.mcp.dispatch import Dispatcher, Reply
    from fluxbase.observe import Observer

_TYPE: Final = (b"content-type", b"application/json")
_KEPT: Final = {
    b"mcp-protocol-version": "mcp-protocol-version",
    b"mcp-method": "mcp-method",
    b"mcp-name": "mcp-name",
}
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
        request_id = secrets.token_hex(8)
        extra: Headers = [(b"x-request-id", request_id.encode())]
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed
            client = scope.get("client")
            remote = client[0] if client else None
            admitted = await self._gate.admit(scope["headers"], remote, request_id)
            extra += quota_headers(admitted.quota)
            kept = _checked_headers(scope["headers"], self._max_size)
            body = await _read(receive, self._max_size)
            request = Request(admitted.who, request_id, remote)
            reply = await run_until_disconnect(
                self._dispatch(request, admitted, body, kept), receive
            )
        except ClientGone:
            return
        except FluxbaseError as error:
            self._observer.refused.labels(error.code).inc()
            if isinstance(error, MethodNotAllowed):
                extra.append((b"allow", b"POST"))
            await _send(send, error.status, wire.failure(error), refusal_headers(error) + extra)
            return
        if reply.retry_after is not None:
            extra.append((b"retry-after", str(reply.retry_after).encode()))
        await _send(send, reply.status, reply.body, extra)

    async def _dispatch(
        self, request: Request, admitted: Admitted, body: bytes, headers: dict[str, str]
    ) -> Reply:
        async def charge() -> None:
            await self._gate.charge(admitted.who)

        try:
            decoded = loads(body)
        except InvalidMessage as error:
            raise wire.ProtocolError(wire.PARSE_ERROR, error.message) from None
        return await self._dispatcher.handle(request, decoded, headers, charge)


def _checked_headers(headers: Headers, max_size: int) -> dict[str, str]:
    """Return the protocol's own headers, after the type and the length were judged."""
    kept: dict[str, str] = {}
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and int(value) > max_size:
            raise TooLarge(f"a message may have at most {max_size} bytes")
        elif name in _KEPT:
            # httptools leaves blanks at the end of a value, which other servers take off.
            kept[_KEPT[name]] = value.strip(b" \t").decode("latin-1")
        elif name == b"mcp-session-id":
            raise UnknownSession
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaType
    return kept


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
