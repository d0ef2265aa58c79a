"""Answers messages: method → handler, one dict; it must not know HTTP or how a tool works."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from fluxbase.errors import (
    Cancelled,
    DeadlineExceeded,
    FluxbaseError,
    InsufficientScope,
    InternalError,
    RateLimited,
    TooLarge,
    Unavailable,
    UnknownMethod,
    UnknownResource,
    UnknownTool,
)
from fluxbase.mcp import wire
from fluxbase.mcp.calling import Calling
from fluxbase.mcp.conversation import Conversation
from fluxbase.mcp.inbound import Message, Response, id_of, judge
from fluxbase.mcp.lifecycle import Lifecycle
from fluxbase.mcp.lists import Lists
from fluxbase.mcp.outline import method_of
from fluxbase.mcp.wire import ProtocolError
from fluxbase.observe import Call, Observer
from fluxbase.strict_json import dumps
from fluxbase.toolkit.client import MissingCapability, MissingInput
from fluxbase.toolkit.deadline import Deadline, Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from fluxbase.mcp.listening import Listening
    from fluxbase.mcp.lists import Seen
    from fluxbase.mcp.rounds import Rounds
    from fluxbase.mcp.turn import Channel, Turn
    from fluxbase.principal import Untrusted
    from fluxbase.sessions.book import Session, Sessions
    from fluxbase.sessions.post import Post
    from fluxbase.toolkit.runner import Runner

    Handler = Callable[[Turn, Message], Awaitable[Mapping[str, Any]]]

log = logging.getLogger(__name__)

# What a failed call says about the server or the caller's quota rather than about the call: the
# transport has to know it, so it is not wrapped into a tool's result.
_TRANSPORT: Final = (
    Unavailable,
    RateLimited,
    InternalError,
    InsufficientScope,
    UnknownTool,
    UnknownResource,
)
_MOST_MESSAGES: Final = 50
_MOST_BATCH_BYTES: Final = 16 * 1024 * 1024
# The methods whose work may tell and ask the client before it is done.
_TALKING: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
LISTEN: Final = "subscriptions/listen"


class Reply(NamedTuple):
    """What goes back: the body (`None`: nothing to say), and how HTTP should say it."""

    body: bytes | None
    status: int = 200
    retry_after: int | None = None
    scopes: tuple[str, ...] = ()  # what an assistant has to ask its user for


class Links(NamedTuple):
    """What dispatchers have in common, whatever the configuration says."""

    sessions: Sessions
    post: Post
    listening: Listening
    rounds: Rounds


class Dispatcher:
    """The methods of both eras."""

    def __init__(
        self,
        runner: Runner,
        observer: Observer,
        links: Links,
        *,
        deadline: float,
        page_size: int,
        untrusted_data: Untrusted = "plain",
    ) -> None:
        self._runner = runner
        self._observer = observer
        self._post = links.post
        self._rounds = links.rounds
        self._listening = links.listening
        self._deadlines = Deadlines(deadline)
        self.lists = Lists(runner.toolbox, page_size)
        calling = Calling(runner, untrusted_data)
        lifecycle = Lifecycle(links.sessions)
        shared: dict[str, Handler] = {
            "tools/list": self.lists.tools,
            "tools/call": calling.call,
            "resources/list": self.lists.resources,
            "resources/templates/list": self.lists.templates,
            "resources/read": calling.read,
            "prompts/list": self.lists.prompts,
            "prompts/get": calling.render,
            "completion/complete": calling.complete,
        }
        self._modern = {**shared, "server/discover": lifecycle.discover, LISTEN: self._listen}
        self._legacy = {
            **shared,
            "initialize": lifecycle.initialize,
            "ping": lifecycle.ping,
            "logging/setLevel": lifecycle.set_level,
            "resources/subscribe": lifecycle.subscribe,
            "resources/unsubscribe": lifecycle.unsubscribe,
            "resources/templates": self.lists.templates,
        }

    def handle(self, turn: Turn, body: object) -> Coroutine[Any, Any, Reply]:
        """Answer the decoded body of one POST."""
        if isinstance(body, list):
            return self._batch(turn, cast("list[object]", body))
        judged = self._judge(body, turn.headers)
        if not isinstance(judged, Message):
            return self._take(turn, judged)
        if judged.is_notification:
            return self._notified(turn, judged)
        if judged.method == LISTEN and judged.modern:
            # It lasts as long as both sides like.
            return self._answer(turn, judged, Deadline(float("inf")))
        return self._answer(turn, judged, self._deadlines.start())

    def listens(self, body: object) -> bool:
        """Return whether a body can only be answered by a stream."""
        return method_of(body) == LISTEN

    async def follow(self, turn: Turn, channel: Channel, told: Seen | None) -> None:
        """Serve a session's own stream until it ends; `told`: what its client was told before."""
        await self._listening.general(turn, channel, told)

    async def _batch(self, turn: Turn, items: list[object]) -> Reply:
        until = asyncio.get_running_loop().time() + self._deadlines.seconds
        flaw = _flaw(items, turn.headers)
        if flaw is not None:
            return Reply(wire.failure(ProtocolError(wire.INVALID_REQUEST, flaw)), 400)
        # All are paid for before the first runs: either the whole batch is answered or none of it.
        for _ in items[1:]:
            await turn.charge()
        turn.channel = None
        bodies: list[bytes] = []
        left = _MOST_BATCH_BYTES
        for item in items:
            judged = self._judge(item, turn.headers)
            if isinstance(judged, Message) and not judged.is_notification:
                reply = await self._in_batch(turn, judged, until, full=left <= 0)
            elif isinstance(judged, Message):
                reply = await self._notified(turn, judged)
            else:
                reply = await self._take(turn, judged)
            if reply.body is not None:
                bodies.append(reply.body)
                left -= len(reply.body)
        return Reply(b"[" + b",".join(bodies) + b"]") if bodies else Reply(None, 202)

    async def _in_batch(self, turn: Turn, message: Message, until: float, *, full: bool) -> Reply:
        if full:
            error = TooLarge("the answers before this one fill the batch; this was not run")
            return Reply(wire.failure(error, message.id))
        return await self._answer(turn, message, Deadline(until))

    def _judge(self, body: object, headers: Mapping[str, str]) -> Message | Response | Reply:
        """Return the message in a body, or the reply that settles it."""
        try:
            return judge(body, headers)
        except ProtocolError as error:
            self._observer.refused.labels(error.code).inc()
            return Reply(wire.failure(error, id_of(body)), error.http_status)

    async def _take(self, turn: Turn, settled: Response | Reply) -> Reply:
        if isinstance(settled, Reply):
            return settled
        if turn.session is not None:
            await self._post.answered(turn.session.id, settled.id, dumps(settled.body))
        return Reply(None, 202)

    async def _notified(self, turn: Turn, message: Message) -> Reply:
        # Without a session an id says nothing about whose call it is.
        if message.method == "notifications/cancelled" and turn.session is not None:
            await self._post.cancel(turn.session.id, message.params.get("requestId"))
        return Reply(None, 202)

    async def _answer(self, turn: Turn, message: Message, deadline: Deadline) -> Reply:
        started = time.perf_counter()
        error: FluxbaseError | None = None
        reply: Reply
        try:
            with deadline:
                result = await self._work(turn, message, deadline)
            reply = Reply(wire.success(message.id, result, modern=message.modern))
        except MissingInput as missing:
            result = self._rounds.result(turn.request.who, message, missing)
            reply = Reply(wire.success(message.id, result, modern=message.modern))
        except TimeoutError:
            error = Cancelled() if deadline.withdrawn else DeadlineExceeded()
        except FluxbaseError as raised:
            error = raised
            if isinstance(raised, InternalError):
                log.exception("request %s failed", turn.request.request_id)
        except Exception:
            log.exception("request %s failed", turn.request.request_id)
            error = InternalError(hint=f"request {turn.request.request_id}")
        if error is not None:
            reply = self._refusal(message, error)
        self._observe(turn, message, error, time.perf_counter() - started)
        return reply  # pyright: ignore[reportPossiblyUnboundVariable]

    def _work(
        self, turn: Turn, message: Message, deadline: Deadline
    ) -> Awaitable[Mapping[str, Any]]:
        handler = (self._modern if message.modern else self._legacy).get(message.method)
        if handler is None:
            raise UnknownMethod
        if message.method not in _TALKING:
            return handler(turn, message)
        state = self._rounds.open(turn.request.who, message) if message.modern else None
        turn.hears(Conversation(turn, message, deadline, self._post, state))
        if turn.session is None:
            return handler(turn, message)
        return self._work_of(turn.session, deadline, turn, message, handler)

    async def _work_of(
        self, session: Session, deadline: Deadline, turn: Turn, message: Message, handler: Handler
    ) -> Mapping[str, Any]:
        """Do work that its session can give up."""
        with self._post.running(session.id, message.id, deadline.withdraw):
            return await handler(turn, message)

    async def _listen(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        if turn.channel is None:
            raise ProtocolError(wire.INVALID_REQUEST, "the answer to this is an event stream")
        return await self._listening.listen(turn, turn.channel, message.id, message.params)

    def _refusal(self, message: Message, error: FluxbaseError) -> Reply:
        if message.method == "tools/call" and not _is_transport(error, message):
            result = wire.tool_failure(error)
            return Reply(wire.success(message.id, result, modern=message.modern))
        body = wire.failure(error, message.id, modern=message.modern)
        scopes = error.scopes if isinstance(error, InsufficientScope) else ()
        return Reply(body, _status(error, modern=message.modern), error.retry_after, scopes)

    def _observe(
        self, turn: Turn, message: Message, error: FluxbaseError | None, seconds: float
    ) -> None:
        tool = message.params.get("name") if message.method == "tools/call" else None
        if not isinstance(tool, str) or tool not in self._runner.toolbox.tools:
            tool = ""  # made-up names must not become metrics
        method = message.method
        if not tool and method not in (self._modern if message.modern else self._legacy):
            method = "unknown"
        outcome = "failed" if error else "ok"
        self._observer.count(tool or method, outcome, seconds)
        if self._observer.tells(outcome):
            code = error.code if error else ""
            request = turn.request
            who = request.who.id
            self._observer.tell(
                Call(request.request_id, method, tool, who, outcome, code, seconds, request.remote)
            )


def _flaw(items: list[object], headers: Mapping[str, str]) -> str | None:
    """Return why a batch is refused as a whole, or `None`."""
    # A client of that version knows no version header; without one, batches are what the assumed
    # version allows.
    if headers.get("mcp-protocol-version", wire.ASSUMED) != wire.BATCHES:
        return f"batches exist in version {wire.BATCHES} only"
    if not items:
        return "a batch has at least one message"
    if len(items) > _MOST_MESSAGES:
        return f"a batch has at most {_MOST_MESSAGES} messages"
    if any(method_of(item) == "initialize" for item in items):
        return "'initialize' must not be part of a batch"
    return None


def _is_transport(error: FluxbaseError, message: Message) -> bool:
    unable = message.modern and isinstance(error, MissingCapability)
    return unable or isinstance(error, (*_TRANSPORT, ProtocolError, Cancelled))


def _status(error: FluxbaseError, *, modern: bool) -> int:
    if isinstance(error, ProtocolError):
        return error.http_status if not modern else 400
    if isinstance(error, Unavailable | RateLimited | InternalError | InsufficientScope):
        return error.status
    # The modern transport says in HTTP too what is unknown; an older error travels as a result.
    if modern and isinstance(error, UnknownMethod):
        return 404
    return (
        400
        if modern and isinstance(error, UnknownTool | UnknownResource | MissingCapability)
        else 200
    )
