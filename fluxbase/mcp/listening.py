"""Streams that stay open: tells a client what changed of what it sees; it must not know HTTP.

The GET stream of a session and `subscriptions/listen` are the same but for their words. Sources:
MCP 2025-11-25, transports; 2026-07-28, subscriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from fluxbase.errors import Unauthenticated, Unavailable
from fluxbase.mcp.wire import INVALID_PARAMS, META, PRIMED, ProtocolError
from fluxbase.sessions.hub import Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.mcp.lists import Seen
    from fluxbase.mcp.turn import Channel, Turn
    from fluxbase.principal import Principal
    from fluxbase.sessions.book import Sessions
    from fluxbase.sessions.hub import Hub, News, Stream

_MOST_URIS: Final = 100
_LISTS: Final = ("tools", "resources", "prompts")
_FILTERS: Final = {
    "toolsListChanged": "tools",
    "resourcesListChanged": "resources",
    "promptsListChanged": "prompts",
}
_BEATS: Final = 4  # after so many signs of life the credential is looked at again


class Shown:
    """What the server shows now; it is replaced with the configuration, under open streams."""

    seen: Callable[[Principal], Seen]
    follows: Callable[[Principal, str], str | None]


class Follower:
    """One open stream and what it told last."""

    def __init__(
        self,
        turn: Turn,
        channel: Channel,
        stream: Stream,
        shown: Shown,
        sessions: Sessions,
        wants: Wants,
        told: Seen | None = None,
    ) -> None:
        self._turn = turn
        self._channel = channel
        self._stream = stream
        self._shown = shown
        self._sessions = sessions
        self._wants = wants
        self._who = turn.request.who
        self._seen = told or shown.seen(self._who)
        self._beats = 0
        self.meta: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The id under which a client of a session comes back to what it was told so far."""
        return f"general.{self._seen.text}"

    async def follow(self, *, missed: bool = False) -> None:
        """Tell what changes until the stream ends; first what may have been `missed`."""
        await self._begin()
        if missed:
            self._stream.tell("lists")
            for uri in await self._uris() or ():
                self._stream.tell_of(uri)
        while True:
            news, uris = await self._stream.happened()
            if "end" in news or not await self._is_welcome(news):
                return
            wanted = await self._uris()
            if wanted is None:
                return
            await self._tell(news, uris, wanted)

    async def _tell(self, news: set[News], uris: set[str], wanted: frozenset[str]) -> None:
        if news & {"lists", "key"}:
            await self._tell_lists()
        if news & {"lists", "key", "catalog"}:
            uris |= {u for u in wanted if self._shown.follows(self._who, u) == "catalog"}
        for uri in sorted(uris & wanted):
            await self._notify("notifications/resources/updated", {"uri": uri})
        if "beat" in news:
            await self._channel.ping()

    async def _begin(self) -> None:
        session = self._turn.session
        if session is not None and session.version >= PRIMED:
            await self._channel.send(b"", name=self.name)
        else:
            await self._channel.ping()

    async def acknowledge(self, honoured: Mapping[str, Any]) -> None:
        """Say first of all what the stream will tell of."""
        method = "notifications/subscriptions/acknowledged"
        await self._notify(method, {"notifications": honoured})

    async def _is_welcome(self, news: set[News]) -> bool:
        """Return whether the caller still has a valid credential, and take over its changes."""
        self._beats += "beat" in news
        if self._turn.again is not None and ("key" in news or self._beats >= _BEATS):
            self._beats = 0
            try:
                self._who = await self._turn.again()
            except Unauthenticated:
                return False
            except Unavailable:
                pass  # nothing is told without the database either; the next sign of life asks
        return True

    async def _tell_lists(self) -> None:
        now = self._shown.seen(self._who)
        before, self._seen = self._seen, now
        for name, old, new in zip(_LISTS, before, now, strict=True):
            if old != new and getattr(self._wants, name):
                await self._notify(f"notifications/{name}/list_changed", {})

    async def _uris(self) -> frozenset[str] | None:
        """Return of which resources the client wants to hear; `None` when its session is over.

        A session of which a stream is open is not idle, so this is a use of it.
        """
        if self._turn.session is None:
            return self._wants.uris
        session = await self._sessions.find(self._turn.request.who, self._turn.session.id)
        return None if session is None else session.subscriptions

    async def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        if self.meta:
            params = {**params, "_meta": self.meta}
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params:
            message["params"] = params
        name = self.name if self._turn.session is not None else None
        await self._channel.send(orjson.dumps(message), name=name)


class Listening:
    """Opens streams."""

    def __init__(self, hub: Hub, sessions: Sessions, shown: Shown) -> None:
        self._hub = hub
        self._sessions = sessions
        self._shown = shown

    async def general(self, turn: Turn, channel: Channel, told: Seen | None) -> None:
        """Serve the GET stream of a session; `told`: what its client knew when it left."""
        stream = self._hub.open(turn.request.who, turn.session.id if turn.session else None)
        try:
            follower = Follower(turn, channel, stream, self._shown, self._sessions, Wants(), told)
            await follower.follow(missed=told is not None)
        finally:
            self._hub.close(stream)

    async def listen(
        self, turn: Turn, channel: Channel, id_: object, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Serve `subscriptions/listen` until the server ends it, and return its result."""
        wants = _wants(params)
        meta = {META + "subscriptionId": id_}
        stream = self._hub.open(turn.request.who)
        try:
            follower = Follower(turn, channel, stream, self._shown, self._sessions, wants)
            follower.meta = meta
            await follower.acknowledge(_honoured(wants))
            await follower.follow()
        finally:
            self._hub.close(stream)
        return {"_meta": meta}


def _wants(params: Mapping[str, Any]) -> Wants:
    asked = params.get("notifications")
    if not isinstance(asked, dict):
        raise ProtocolError(INVALID_PARAMS, "'notifications' must be an object")
    asked = cast("dict[str, Any]", asked)
    lists = {name: asked.get(key) is True for key, name in _FILTERS.items()}
    return Wants(**lists, uris=_uris(asked.get("resourceSubscriptions") or []))


def _uris(given: Any) -> frozenset[str]:
    uris: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [None]
    if not all(isinstance(uri, str) for uri in uris):
        raise ProtocolError(INVALID_PARAMS, "'resourceSubscriptions' must be a list of URIs")
    if len(uris) > _MOST_URIS:
        raise ProtocolError(INVALID_PARAMS, f"at most {_MOST_URIS} 'resourceSubscriptions'")
    return frozenset(uris)


def _honoured(wants: Wants) -> dict[str, Any]:
    honoured: dict[str, Any] = {k: True for k, name in _FILTERS.items() if getattr(wants, name)}
    return honoured | ({"resourceSubscriptions": sorted(wants.uris)} if wants.uris else {})
