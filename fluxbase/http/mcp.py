"""The MCP endpoint in HTTP: requests in, answers or streams out; it must not know any method.

The order of a call: credential → rate limit → size → session → JSON → the dispatcher. Nothing of
the body is read for a caller who is not admitted.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import (
    FluxbaseError,
    InternalError,
    InvalidMessage,
    UnknownResource,
)
from fluxbase.http.channel import Channel
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.head import Headers, once
from fluxbase.http.headers import SESSION, VERSION, NotAcceptable, Said, read, read_post
from fluxbase.http.hosts import PRIVATE
from fluxbase.http.visit import Received, Visit
from fluxbase.mcp import wire
from fluxbase.mcp.dispatch import Reply
from fluxbase.mcp.turn import Turn
from fluxbase.strict_json import loads
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from fluxbase.http.exchange import Exchange
    from fluxbase.http.gate import Gate
    from fluxbase.http.streams import Streams
    from fluxbase.http.visit import Incoming
    from fluxbase.mcp.dispatch import Dispatcher
    from fluxbase.observe import Observer
    from fluxbase.principal import Principal
    from fluxbase.sessions.book import Session, Sessions

log = logging.getLogger(__name__)

_TYPE: Final = (b"content-type", b"application/json")
_METHODS: Final = (b"allow", b"GET, POST, DELETE")


class MethodNotAllowed(InvalidMessage):
    """The endpoint answers POST, and of a session also GET and DELETE."""

    title, status = "Only POST is answered here, and GET and DELETE of a session", 405


class UnknownSession(UnknownResource):
    """A session id was sent that is not one of this caller's, or not any more."""

    title, status = "No such session; initialize again", 404


Answer = tuple[int, Headers, bytes]


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
        answer = await self._answer(scope, Received(receive, scope["headers"]), send)
        if answer is not None:
            status, headers, body = answer
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def answer_on(self, exchange: Exchange, scope: Scope) -> None:
        """Answer one HTTP request that is no HEAD on its connection, past what lies between."""
        answer = await self._answer(scope, exchange, exchange.send)
        if answer is not None:
            status, headers, body = answer
            headers += PRIVATE
            await exchange.answer(status, headers, body)

    async def _answer(self, scope: Scope, incoming: Incoming, send: Any) -> Answer | None:
        """Return what to answer; `None` when it was sent as a stream, or nobody is left."""
        client = scope.get("client")
        visit = Visit(self._gate, scope["headers"], client[0] if client else None)
        refused: Headers = []
        try:
            reply = await self._reply(scope, incoming, visit, send)
        except ClientGone:
            return None
        except FluxbaseError as error:
            reply = self._refusal(error, scope)
            refused = self._gate.refusal_headers(error, visit.sent)
        except Exception:
            log.exception("request %s failed", visit.id)
            reply = self._refusal(InternalError(hint=f"request {visit.id}"), scope)
        return None if reply is None else self._said(reply, visit, refused)

    def _said(self, reply: Reply, visit: Visit, refused: Headers) -> Answer:
        """Return a reply with all that its headers have to say."""
        headers = visit.headers() if not refused else visit.headers_with(refused)
        if reply.status == 405:
            headers.append(_METHODS)
        if reply.scopes:
            headers.append(self._gate.scope_challenge(reply.scopes))
        if reply.retry_after is not None:
            headers.append((b"retry-after", str(reply.retry_after).encode()))
        if reply.body is None:
            return reply.status, headers, b""
        headers.append(_TYPE)
        return reply.status, headers, reply.body

    async def _reply(
        self, scope: Scope, incoming: Incoming, visit: Visit, send: Any
    ) -> Reply | None:
        """Return what to answer; `None` when it has been sent as a stream."""
        if scope["method"] != "POST":
            return await self._reply_to_other(scope, incoming, visit, send)
        who = await visit.enter()
        said = once(visit.sent, read_post)
        # The modern era has no sessions and ignores their ids.
        named = SESSION in said and not _is_modern(said)
        session = await self._session(who, said) if named else None
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
        return None

    async def _reply_to_other(
        self, scope: Scope, incoming: Incoming, visit: Visit, send: Any
    ) -> Reply | None:
        """Answer GET and DELETE of a session."""
        said = read(scope["headers"])
        if scope["method"] not in ("GET", "DELETE") or _is_modern(said) or SESSION not in said:
            raise MethodNotAllowed
        who = await visit.enter()
        session = await self._session(who, said)
        if scope["method"] == "DELETE":
            await self._sessions.end(who, session.id)
            return Reply(None, 204)
        if not said.takes_streams:
            raise NotAcceptable
        channel = Channel(send, visit.headers)
        request = Request(who, visit.id, visit.remote)
        turn = Turn(request, said, visit.charge, session, channel, visit.again)
        await incoming.until_gone(self._streams.serve(self._dispatcher, turn, channel))
        return None

    async def _session(self, who: Principal, said: Said) -> Session:
        """Return the session that a request names.

        Raises:
            UnknownSession: it is none of this caller's.
        """
        session = await self._sessions.find(who, said[SESSION])
        if session is None:
            raise UnknownSession
        return session

    def _channel(
        self, said: Said, session: Session | None, incoming: Incoming, visit: Visit, send: Any
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
