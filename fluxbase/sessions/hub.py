"""The open streams of this process, and what may have changed for them; knows no list.

A change is only noted on a stream; its own task then finds out what that means for its caller. So
a thousand changes cost a stream that is slow no more than one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbase.principal import Principal

News = Literal["lists", "catalog", "key", "beat", "end"]
_BEAT: Final = 15.0
_MOST: Final = 10_000
_MOST_PER_PRINCIPAL: Final = 1_000


class Wants(NamedTuple):
    """Of what a stream wants to hear."""

    tools: bool = True
    resources: bool = True
    prompts: bool = True
    uris: frozenset[str] = frozenset()


class TooManyStreams(Unavailable):
    """The caller, or all of them together, have as many streams open as there may be."""

    title = "Too many streams"


@dataclass(slots=True, eq=False)
class Stream:
    """One open stream: whose it is and what happened since it was looked after last."""

    who: Principal
    session: str | None = None
    _news: set[News] = field(default_factory=set["News"])
    _uris: set[str] = field(default_factory=set[str])
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, news: News) -> None:
        """Note what happened."""
        self._news.add(news)
        self._bell.set()

    def tell_of(self, uri: str) -> None:
        """Note that a resource changed."""
        self._uris.add(uri)
        self._bell.set()

    async def happened(self) -> tuple[set[News], set[str]]:
        """Wait for something and return all that happened since the last time."""
        await self._bell.wait()
        self._bell.clear()
        news, uris = self._news, self._uris
        self._news, self._uris = set(), set()
        return news, uris


class Hub:
    """All open streams."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._counts: dict[str, int] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, who: Principal, session: str | None = None) -> Stream:
        """Return a stream that hears what happens from now on, until it is closed.

        Raises:
            TooManyStreams: the caller has as many as it may have, or all together have.
        """
        count = self._counts.get(who.id, 0)
        if self._closed or len(self._streams) >= _MOST or count >= _MOST_PER_PRINCIPAL:
            raise TooManyStreams("no more streams are opened now", retry_after=5)
        stream = Stream(who, session)
        self._streams.add(stream)
        self._counts[who.id] = count + 1
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream; doing it again does nothing."""
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        left = self._counts[stream.who.id] - 1
        if left:
            self._counts[stream.who.id] = left
        else:
            del self._counts[stream.who.id]

    def end_all(self) -> None:
        """End every stream, and open no more: the server stops."""
        self._closed = True
        self._tell(self._streams, "end")

    def end(self, session: str) -> None:
        """End the streams of a session."""
        self._tell((s for s in list(self._streams) if s.session == session), "end")

    def lists_changed(self) -> None:
        """Note that the configuration is another."""
        self._tell(self._streams, "lists")

    def catalog_changed(self) -> None:
        """Note that there are other tables, columns or rights."""
        self._tell(self._streams, "catalog")

    def key_changed(self, key: str) -> None:
        """Note that a key changed or ended; all may have when none is named."""
        self._tell((s for s in list(self._streams) if not key or s.who.id == key), "key")

    def resource_changed(self, uri: str, owner: str = "") -> None:
        """Note that a resource holds something else; where it has an owner, nobody else hears."""
        for stream in self._streams:
            if not owner or stream.who.is_service or stream.who.owner == owner:
                stream.tell_of(uri)

    async def beat(self) -> None:
        """Give every open stream a sign of life now and then, until cancelled."""
        while True:
            await asyncio.sleep(_BEAT)
            self._tell(list(self._streams), "beat")

    @staticmethod
    def _tell(streams: Iterator[Stream] | set[Stream] | list[Stream], news: News) -> None:
        for stream in streams:
            stream.tell(news)
