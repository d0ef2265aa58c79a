"""The MCP endpoint in HTTP: one POST ↔ one answer; it must not know any method or tool.

The order of a call: credential → rate limit → size → JSON → the dispatcher. Nothing of the body
is read for a caller who is not admitted.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from fluxbase.errors import (
    FluxbaseError,
    InternalError,
    InvalidMessage,
    UnknownResource,
)
from fluxbase.http.disconnect import ClientGone, run_until_disconnect
from fluxbase.http.exchange import read_body, too_large
from fluxbase.http.gate import quota_headers, refusal_headers
from fluxbase.http.hosts import PRIVATE
from fluxbase.mcp import wire
from fluxbase.mcp.dispatch import Reply
from fluxbase.strict_json import loads
from fluxbase.toolkit.toolbox import Request

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive, Scope, Send

    from fluxbase.http.exchange import Exchange
    from fluxbase.http.gate import Admitted, Gate
    from fluxbase.limits.rate import Quota
    from fluxbase.mcp.dispatch import Dispatcher
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


class Answer(NamedTuple):
    """What goes back for one request."""

    status: int
    headers: Headers
    body: bytes


class Incoming(Protocol):
    """Where the body of a request comes from, and word of its client's leaving."""

    async def read(self, most: int) -> bytes:
        """Return the body, or raise `TooLarge` or `ClientGone`."""
        ...

    async def until_gone(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        """Await the work, or raise `ClientGone` when the client leaves before its end."""
        ...


class _Received:
    """The incoming side of any ASGI server."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def read(self, most: int) -> bytes:
        return await read_body(self._receive, most)

    async def until_gone(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        return await run_until_disconnect(work, self._receive)


class _Tab:
    """Counts the calls of one request's caller, and knows what was left after the last."""

    __slots__ = ("_gate", "_who", "quota")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.quota: Quota | None = None

    def open(self, admitted: Admitted) -> None:
        self._who = admitted.who
        self.quota = admitted.quota

    async def __call__(self) -> None:
        self.quota = await self._gate.charge(self._who)


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
        """Answer one HTTP request, whatever hands it out and takes the answer."""
        answer = await self._answer(scope, _Received(receive))
        if answer is not None:
            size = (b"content-length", b"%d" % len(answer.body))
            headers = [*answer.headers, size]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def answer_on(self, exchange: Exchange, scope: Scope) -> None:
        """Answer one HTTP request that is no HEAD on its connection, past what lies between."""
        answer = await self._answer(scope, exchange)
        if answer is not None:
            await exchange.answer(answer.status, [*answer.headers, *PRIVATE], answer.body)

    async def _answer(self, scope: Scope, incoming: Incoming) -> Answer | None:
        """Return what to answer; `None` when there is nobody left to read it."""
        request_id = f"{_RUN}{next(_NUMBERS):08x}"
        headers: Headers = [(b"x-request-id", request_id.encode())]
        tab = _Tab(self._gate)
        try:
            reply = await self._reply(scope, incoming, request_id, tab)
        except ClientGone:
            return None
        except FluxbaseError as error:
            reply = self._refusal(error, scope)
            headers += refusal_headers(error)
        except Exception:
            log.exception("request %s failed", request_id)
            reply = self._refusal(InternalError(hint=f"request {request_id}"), scope)
        if tab.quota is not None and not any(name == b"ratelimit" for name, _ in headers):
            headers += quota_headers(tab.quota)
        if reply.status == 405:
            headers.append((b"allow", b"POST"))
        if reply.retry_after is not None:
            headers.append((b"retry-after", str(reply.retry_after).encode()))
        if reply.body is None:
            return Answer(reply.status, headers, b"")
        headers.append(_TYPE)
        return Answer(reply.status, headers, reply.body)

    async def _reply(self, scope: Scope, incoming: Incoming, request_id: str, tab: _Tab) -> Reply:
        if scope["method"] != "POST":
            raise MethodNotAllowed
        client = scope.get("client")
        remote = client[0] if client else None
        admitted = await self._gate.admit(scope["headers"], remote, request_id)
        tab.open(admitted)
        kept = _checked_headers(scope["headers"], self._max_size)
        body = await incoming.read(self._max_size)
        request = Request(admitted.who, request_id, remote)
        work = self._dispatcher.handle(request, _decoded(body), kept, tab)
        return await incoming.until_gone(work)

    def _refusal(self, error: FluxbaseError, scope: Scope) -> Reply:
        self._observer.refused.labels(error.code).inc()
        spoken = [v for name, v in scope["headers"] if name == _VERSION.encode()]
        modern = any(v.decode("latin-1").strip(" \t") in wire.MODERN for v in spoken)
        return Reply(wire.failure(error, modern=modern), error.status)


def _decoded(body: bytes) -> object:
    try:
        return loads(body)
    except InvalidMessage as error:
        raise wire.ProtocolError(wire.PARSE_ERROR, error.message) from None


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
            raise too_large(max_size)
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
