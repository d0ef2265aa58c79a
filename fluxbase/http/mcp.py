"""The MCP endpoint in HTTP: requests in, answers or streams out; it must not know any method.

The order of a call: credential → rate limit → size → session → JSON → the dispatcher. Nothing of
the body is read for a caller who is not admitted.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from fluxbase.errors import (
    FluxbaseError,
    InternalError,
    InvalidMessage,
    UnknownResource,
)
from fluxbase.http.channel import Channel
from fluxbase.http.disconnect import ClientGone, run_until_disconnect
from fluxbase.http.exchange import read_body
from fluxbase.http.gate import quota_headers, refusal_headers
from fluxbase.http.headers import SESSION, VERSION, NotAcceptable, Said, read, read_post
from fluxbase.http.hosts import PRIVATE
from fluxbase.http.streams import Gone, Streams
from fluxbase.mcp import wire
from fluxbase.mcp.dispatch import Reply
from fluxbase.mcp.turn import Turn
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
    from fluxbase.principal import Principal
    from fluxbase.sessions.book import Session, Sessions

log = logging.getLogger(__name__)

# Ids tell requests apart in logs; they are no secret, so a counter after a random start will do.
_RUN: Final = secrets.token_hex(4)
_NUMBERS: Final = itertools.count()
_TYPE: Final = (b"content-type", b"application/json")
_METHODS: Final = (b"allow", b"GET, POST, DELETE")
T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]


class MethodNotAllowed(InvalidMessage):
    """The endpoint answers POST, and of a session also GET and DELETE."""

    title, status = "Only POST is answered here, and GET and DELETE of a session", 405


class UnknownSession(UnknownResource):
    """A session id was sent that is not one of this caller's, or not any more."""

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

    async def until_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work, or raise `ClientGone` when the client leaves before its end."""
        ...

    def detach(self) -> None:
        """Let the work go on although the client leaves."""
        ...


class _Received:
    """The incoming side of any ASGI server."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._detached = False

    async def read(self, most: int) -> bytes:
        return await read_body(self._receive, most)

    async def until_gone(self, work: Coroutine[Any, Any, T]) -> T:
        return await run_until_disconnect(work, self._receive, goes_on=lambda: self._detached)

    def detach(self) -> None:
        self._detached = True


class _Visit:
    """One request: what is known of its caller, and what its answer has to carry."""

    __slots__ = ("_gate", "id", "quota", "remote", "sent", "session", "who")

    def __init__(self, gate: Gate, headers: Headers, remote: str | None) -> None:
        self.id = f"{_RUN}{next(_NUMBERS):08x}"
        self.quota: Quota | None = None
        self.session: str | None = None
        self._gate = gate
        self.sent = headers
        self.remote = remote

    async def enter(self) -> Principal:
        admitted: Admitted = await self._gate.admit(self.sent, self.remote, self.id)
        self.who = admitted.who
        self.quota = admitted.quota
        return admitted.who

    async def charge(self) -> None:
        self.quota = await self._gate.charge(self.who)

    async def again(self) -> Principal:
        return await self._gate.recognize(self.sent, self.remote)

    def opened(self, session: str) -> None:
        self.session = session

    def headers(self) -> Headers:
        headers: Headers = [(b"x-request-id", self.id.encode())]
        if self.session is not None:
            headers.append((SESSION.encode(), self.session.encode()))
        if self.quota is not None:
            headers += quota_headers(self.quota)
        return headers


class McpEndpoint:
    """An ASGI application for one path."""

    def __init__(
        self,
        gate: Gate,
        dispatcher: Dispatcher,
        observer: Observer,
        sessions: Sessions,
        streams: Streams,
        *,
        max_size: int,
    ) -> None:
        self._gate = gate
        self._dispatcher = dispatcher
        self._observer = observer
        self._sessions = sessions
        self._streams = streams
        self._max_size = max_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever hands it out and takes the answer."""
        answer = await self._answer(scope, _Received(receive), send)
        if answer is not None:
            size = (b"content-length", b"%d" % len(answer.body))
            headers = [*answer.headers, size]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def answer_on(self, exchange: Exchange, scope: Scope) -> None:
        """Answer one HTTP request that is no HEAD on its connection, past what lies between."""
        answer = await self._answer(scope, exchange, exchange.send)
        if answer is not None:
            await exchange.answer(answer.status, [*answer.headers, *PRIVATE], answer.body)

    async def _answer(self, scope: Scope, incoming: Incoming, send: Any) -> Answer | None:
        """Return what to answer; `None` when it was sent as a stream, or nobody is left."""
        client = scope.get("client")
        visit = _Visit(self._gate, scope["headers"], client[0] if client else None)
        refused: Headers = []
        try:
            reply = await self._reply(scope, incoming, visit, send)
        except (ClientGone, Gone):
            return None
        except FluxbaseError as error:
            reply = self._refusal(error, scope)
            refused = refusal_headers(error)
        except Exception:
            log.exception("request %s failed", visit.id)
            reply = self._refusal(InternalError(hint=f"request {visit.id}"), scope)
        if any(name == b"ratelimit" for name, _ in refused):
            visit.quota = None
        headers = visit.headers() + refused
        if reply.status == 405:
            headers.append(_METHODS)
        if reply.retry_after is not None:
            headers.append((b"retry-after", str(reply.retry_after).encode()))
        if reply.body is None:
            return Answer(reply.status, headers, b"")
        headers.append(_TYPE)
        return Answer(reply.status, headers, reply.body)

    async def _reply(self, scope: Scope, incoming: Incoming, visit: _Visit, send: Any) -> Reply:
        if scope["method"] != "POST":
            return await self._reply_to_other(scope, incoming, visit, send)
        who = await visit.enter()
        said = read_post(visit.sent, self._max_size)
        session = await self._session(who, said) if SESSION in said else None
        body = _decoded(await incoming.read(self._max_size))
        channel = self._channel(said, session, incoming, visit, send)
        if channel is None and self._dispatcher.listens(body):
            raise NotAcceptable
        turn = Turn(
            Request(who, visit.id, visit.remote),
            said,
            visit.charge,
            session,
            channel,
            visit.again,
            visit.opened,
        )
        reply = await incoming.until_gone(self._dispatcher.handle(turn, body))
        if channel is None or not channel.opened:
            return reply
        await channel.finish(reply.body)
        raise Gone

    async def _reply_to_other(
        self, scope: Scope, incoming: Incoming, visit: _Visit, send: Any
    ) -> Reply:
        """Answer GET and DELETE of a session."""
        said = read(scope["headers"])
        if scope["method"] not in ("GET", "DELETE") or _is_modern(said) or SESSION not in said:
            raise MethodNotAllowed
        who = await visit.enter()
        session = await self._session(who, said)
        if session is None:
            raise MethodNotAllowed
        if scope["method"] == "DELETE":
            await self._sessions.end(who, session.id)
            return Reply(None, 204)
        if not said.takes_streams:
            raise NotAcceptable
        turn = Turn(
            Request(who, visit.id, visit.remote),
            said,
            visit.charge,
            session,
            Channel(send, visit.headers),
            visit.again,
        )
        await incoming.until_gone(self._streams.serve(self._dispatcher, turn))
        raise Gone

    async def _session(self, who: Principal, said: Said) -> Session | None:
        """Return the session that a request names; the modern era has none and ignores ids."""
        if _is_modern(said):
            return None
        session = self._sessions.recall(who, said[SESSION])
        if session is None:
            session = await self._sessions.find(who, said[SESSION])
        if session is None:
            raise UnknownSession
        return session

    def _channel(
        self, said: Said, session: Session | None, incoming: Incoming, visit: _Visit, send: Any
    ) -> Channel | None:
        if not said.takes_streams:
            return None
        if session is None:
            return Channel(send, visit.headers)
        return Channel(
            send,
            visit.headers,
            kept=self._streams.events.begin(session.id),
            primes=session.version >= wire.PRIMED,
            detach=incoming.detach,
        )

    def _refusal(self, error: FluxbaseError, scope: Scope) -> Reply:
        self._observer.refused.labels(error.code).inc()
        return Reply(wire.failure(error, modern=_is_modern(read(scope["headers"]))), error.status)


def _is_modern(said: Said) -> bool:
    return said.get(VERSION) in wire.MODERN


def _decoded(body: bytes) -> object:
    try:
        return loads(body)
    except InvalidMessage as error:
        raise wire.ProtocolError(wire.PARSE_ERROR, error.message) from None
