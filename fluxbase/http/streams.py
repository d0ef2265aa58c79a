"""The GET stream of a session: its own news, or the rest of an answer; knows no method.

Source: MCP 2025-11-25, transports, listening for messages and resumability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.errors import FluxbaseError, InvalidArgument
from fluxbase.http.headers import LAST_EVENT
from fluxbase.mcp.lists import Seen

if TYPE_CHECKING:
    from fluxbase.http.channel import Channel
    from fluxbase.mcp.dispatch import Dispatcher
    from fluxbase.mcp.turn import Turn
    from fluxbase.sessions.book import Session
    from fluxbase.sessions.events import Events

_GENERAL: Final = "general."


class Streams:
    """Serves GET."""

    def __init__(self, events: Events) -> None:
        self.events = events

    async def serve(self, dispatcher: Dispatcher, turn: Turn, channel: Channel) -> None:
        """Serve the stream of a turn with a session, on its channel, up to its end.

        Raises:
            InvalidArgument: the client comes back for a stream that is not known any more.
            TooManyStreams: there are too many.
        """
        last = turn.headers.get(LAST_EVENT)
        try:
            if last is None or last.startswith(_GENERAL):
                told = None if last is None else Seen.read(last.removeprefix(_GENERAL))
                await dispatcher.follow(turn, channel, told)
            else:
                await self._resume(turn.session, channel, last)
        except FluxbaseError:
            # Once a stream is open there is no status left to say it with; the client comes back.
            if not channel.opened:
                raise
        await channel.finish(None)

    async def _resume(self, session: Session | None, channel: Channel, last: str) -> None:
        found = None if session is None else await self.events.find(session.id, last)
        if session is None or found is None:
            raise InvalidArgument(
                "Last-Event-ID names no event of this session that is still kept",
                hint="open the stream without it, and make the call again",
            )
        await channel.open()
        async for event in self.events.follow(session.id, *found):
            if event is None:
                await channel.ping()
            else:
                await channel.send(event.message, name=event.id)
