"""What a call may tell and ask its client, in the words of the version it speaks; knows no tool.

Sources: MCP 2025-11-25, progress, logging, elicitation, sampling, roots; 2026-07-28, multi
round-trip requests.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from fluxbase.errors import Forbidden
from fluxbase.mcp.wire import INVALID_PARAMS, META, ProtocolError
from fluxbase.toolkit.client import LEVELS, MissingCapability, MissingInput
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from fluxbase.mcp.inbound import Message
    from fluxbase.mcp.turn import Turn
    from fluxbase.sessions.post import Post
    from fluxbase.toolkit.client import Level, Question
    from fluxbase.toolkit.deadline import Deadline

PATIENCE: Final = 300.0  # seconds for a person to answer
_TICK: Final = 1.0


class ClientRefused(Forbidden):
    """The client answered a question with an error."""

    title = "The client refused to answer a question of this call"


class Conversation:
    """The client of one call; `fluxbase.toolkit.client.Client`."""

    __slots__ = (
        "_channel",
        "_deadline",
        "_message",
        "_post",
        "_session",
        "_tells",
        "_told",
        "state",
    )

    def __init__(
        self, turn: Turn, message: Message, deadline: Deadline, post: Post, state: Any
    ) -> None:
        # Not the turn, which leads back here: that would be work for the collector in every call.
        self._channel = turn.channel
        self._session = turn.session
        self._message = message
        self._deadline = deadline
        self._post = post
        self._told = -1.0
        self._tells = False  # the tool itself tells how far it is, in its own measure
        self.state = state

    def can(self, capability: str) -> bool:
        """Return whether the client declared the capability and can be reached."""
        if self._message.modern:
            return capability in cast("dict[str, Any]", self._message.meta[_CAPABILITIES])
        session, channel = self._session, self._channel
        return session is not None and channel is not None and capability in session.capabilities

    async def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Send `notifications/progress` to a client that gave a token for it."""
        self._tells = True
        await self._tell_progress(done, total, message)

    async def _tell_progress(self, done: float, total: float | None, message: str | None) -> None:
        token = self._message.meta.get("progressToken")
        if self._channel is None or not _is_token(token) or done <= self._told:
            return
        self._told = done
        told = {"progressToken": token, "progress": done, "total": total, "message": message}
        params = {name: value for name, value in told.items() if value is not None}
        await self._notify("notifications/progress", params)

    async def log(self, level: Level, data: Any, logger: str | None = None) -> None:
        """Send `notifications/message` to a client that asked for this level or a lower one."""
        least = self.least_level
        if least is None or LEVELS.index(level) < least:
            return
        params = {"level": level, "data": data} | ({"logger": logger} if logger else {})
        await self._notify("notifications/message", params)

    @property
    def least_level(self) -> int | None:
        """The place in `LEVELS` from which on the client wants to hear; `None`: of nothing."""
        if self._channel is None:
            return None
        session = self._session
        wanted = (
            self._message.meta.get(META + "logLevel")
            if self._message.modern
            else session and session.log_level
        )
        return LEVELS.index(wanted) if wanted in LEVELS else None

    async def ask(
        self, questions: Mapping[str, Question], state: Any = None
    ) -> Mapping[str, Mapping[str, Any]]:
        """Return the answers; see `fluxbase.toolkit.client.Client`.

        Raises:
            MissingCapability: the client cannot be asked this.
            MissingInput: the client has to make its call again, with the answers.
            ClientRefused: it answered with an error.
            ProtocolError: an answer is no object.
        """
        unable = [q.capability for q in questions.values() if not self.can(q.capability)]
        if unable:
            raise MissingCapability(*unable)
        if not self._message.modern:
            return await self._ask_now(questions)
        given = self._message.params.get("inputResponses")
        answers = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        missing = {name: q for name, q in questions.items() if name not in answers}
        if missing:
            raise MissingInput(missing, state)
        wrong = [name for name in questions if not isinstance(answers[name], dict)]
        if wrong:
            raise ProtocolError(INVALID_PARAMS, "every one of 'inputResponses' must be an object")
        return {name: answers[name] for name in questions}

    async def hang_up(self) -> None:
        """Close the stream where the client can come back for the rest."""
        if self._channel is not None:
            await self._channel.hang_up()

    @property
    def listens(self) -> bool:
        """Whether the client wants to hear anything at all before the answer."""
        if self._channel is None:
            return False
        if self._session is not None and self._session.log_level is not None:
            return True
        if "_meta" not in self._message.params:
            return False
        meta = self._message.meta
        return "progressToken" in meta or META + "logLevel" in meta

    @asynccontextmanager
    async def ticking(self) -> AsyncGenerator[None]:
        """Tell now and then that the call still runs, to a client that wants to hear of it."""
        if not _is_token(self._message.meta.get("progressToken")):
            yield
            return
        over = asyncio.Event()
        ticker = asyncio.ensure_future(self._tick(over))
        try:
            yield
        finally:
            # What is being sent, and kept meanwhile, is let finish unless its client stalls.
            over.set()
            try:
                await asyncio.wait((ticker,), timeout=_TICK)
            finally:
                ticker.cancel()

    async def _tick(self, over: asyncio.Event) -> None:
        began = time.monotonic()
        while not self._tells:
            await pause(over, _TICK)
            if over.is_set():
                return
            if not self._tells:
                seconds = round(time.monotonic() - began, 1)
                await self._tell_progress(seconds, None, f"running for {seconds:g} s")

    async def _ask_now(self, questions: Mapping[str, Question]) -> Mapping[str, Mapping[str, Any]]:
        session, channel = self._session, self._channel
        if session is None or channel is None:  # `can` said otherwise
            raise MissingCapability(*(q.capability for q in questions.values()))
        waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        with ExitStack() as expected, self._deadline.suspended(PATIENCE):
            for name, question in questions.items():
                id_, waiting[name] = expected.enter_context(self._post.expecting(session.id))
                request = {"jsonrpc": "2.0", "id": id_, "method": question.method}
                await channel.send(orjson.dumps({**request, "params": question.params}))
            responses = {name: await future for name, future in waiting.items()}
        return {name: _result(response) for name, response in responses.items()}

    async def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        if self._channel is not None:
            message = {"jsonrpc": "2.0", "method": method, "params": params}
            await self._channel.send(orjson.dumps(message))


_CAPABILITIES: Final = META + "clientCapabilities"


def _is_token(token: object) -> bool:
    return isinstance(token, str | int) and not isinstance(token, bool)


def _result(response: Mapping[str, Any]) -> Mapping[str, Any]:
    result = response.get("result")
    if not isinstance(result, dict):
        raise ClientRefused
    return cast("dict[str, Any]", result)
