"""What connects a server to its clients for longer than a request: sessions, streams, news.

It must not know any method or tool.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from fluxbase.errors import FluxbaseError, UnknownResource
from fluxbase.mcp.dispatch import Links
from fluxbase.mcp.listening import Listening, Shown
from fluxbase.mcp.rounds import Rounds
from fluxbase.sessions.book import Caps, Sessions
from fluxbase.sessions.events import Events
from fluxbase.sessions.hub import Hub
from fluxbase.sessions.post import Post

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.auth.pepper import Peppers
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.mcp.lists import Seen
    from fluxbase.principal import Principal
    from fluxbase.toolkit.toolbox import Toolbox

log = logging.getLogger(__name__)

_RESTART: Final = 1.0  # seconds before failed background work is started again
_SWEEP: Final = 30.0


class Lines:
    """The sessions and streams of one server; they outlive its configuration."""

    def __init__(self, database: Database, peppers: Peppers, limits: Caps) -> None:
        self.sessions = Sessions(database, limits)
        self.post = Post(database, peppers.derive("client request"))
        self.events = Events(database, self.post)
        self.hub = Hub()
        self._shown = Shown()
        listening = Listening(self.hub, self.sessions, self._shown)
        rounds = Rounds(peppers.derive("request state"))
        self.links = Links(self.sessions, self.post, listening, rounds)

    def show(self, seen: Callable[[Principal], Seen], toolbox: Toolbox, limits: Caps) -> None:
        """Let open streams see by another configuration."""

        def follows(who: Principal, uri: str) -> str | None:
            try:
                resource, _ = toolbox.find_resource(who, uri)
            except UnknownResource:
                return None
            return resource.follows

        self._shown.seen = seen
        self._shown.follows = follows
        self.sessions.caps = limits
        self.hub.lists_changed()

    def hear(self, payload: str) -> None:
        """Take in what is announced of sessions; nothing said means that something was missed."""
        if not payload:
            self.sessions.forget()
            self.post.ring()
            return
        news = cast("dict[str, Any]", orjson.loads(payload))
        if news["kind"] in ("ended", "changed"):
            self.sessions.forget(news["session"])
        if news["kind"] == "ended":
            self.hub.end(news["session"])
            self.post.end(news["session"])
        self.post.hear(news)

    def hear_of_resource(self, payload: str) -> None:
        """Take in that resources changed.

        Each is its URI, and on the next line whose it is, if so; an empty line is between two.
        """
        for told in payload.split("\n\n"):
            uri, _, owner = told.partition("\n")
            if uri:
                self.hub.resource_changed(uri, owner)

    def work(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what has to run in the background."""
        return [self.hub.beat, self._write_uses, lambda: every(_SWEEP, self._sweep)]

    async def _write_uses(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, self.sessions.caps.timeout / 4))
            with suppress(FluxbaseError):
                await self.sessions.flush()

    async def _sweep(self) -> None:
        await self.sessions.sweep()
        await self.events.prune()


def caps(config: Config) -> Caps:
    """Return what the configuration says of sessions."""
    mcp = config.mcp
    return Caps(mcp.session_timeout, mcp.max_sessions_per_key, mcp.max_sessions)


async def kept_going(work: Callable[[], Awaitable[None]]) -> None:
    """Run what runs in the background, again after a fault that nobody expected."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("work in the background failed and is started again")
            await asyncio.sleep(_RESTART)
        else:
            return


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again; an error that is known waits for the next time."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(FluxbaseError):
            await work()
