"""Which reads go together: those of one identity that come at the same moment and are quick.

One connection then takes them in one write and answers in one read, where each would else wake a
process of Postgres and be woken by it, which costs both sides more than a small read itself. While
no connection is free, reads of an identity wait for one together. A read that cannot go in a batch,
or is not answered there, goes alone. It must not know who reads what, or why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from fluxbase.db import messages
from fluxbase.db.batch import Batch, Read, leave_alone

if TYPE_CHECKING:
    from fluxbase.db.held import Held, Identity
    from fluxbase.db.messages import Row
    from fluxbase.db.sql import Statement

log = logging.getLogger(__name__)

_LONGEST: Final = 0.001  # seconds that the last of a batch may have to wait for those before it
_LEAST: Final = 0.00003  # seconds that Postgres is taken to need for any read
_MOST: Final = 8
# A batch that is there at so many ticks is late; one, or two, may be this process, which was busy
# with something else and has not listened.
_TICK: Final = 0.005  # seconds
_TICKS: Final = 4
# Reads of a kind that made a batch late go alone for so many seconds, and for twice as long when
# it happens again within ten times as many.
_BARRED: Final = 0.1
_BARRED_LONGEST: Final = 60.0
_AGAIN: Final = 10
# What a kind of read takes is the least it took, which grows each time it took more: most of what
# is measured is how long this process was busy with something else.
_GROWTH: Final = 1.05
_MOST_KINDS: Final = 1024
_LONGEST_TEXT: Final = 8_192


class Source(Protocol):
    """Where connections come from; `fluxbase.db.pool.Pool` is one."""

    def take(self, identity: Identity | None, /) -> Held | None:
        """Return an idle connection that is set to `identity` already, if there is one."""
        ...

    async def acquire(self, identity: Identity, /) -> Held:
        """Return a connection set to `identity`, or raise what a caller is told."""
        ...

    def release(self, held: Held, /) -> None:
        """Take a connection back."""
        ...

    def discard(self, held: Held, /) -> None:
        """Close a connection whose state is unknown."""
        ...


@dataclass(slots=True)
class _Watched:
    """A batch that runs: since when, and how far it was at the last tick."""

    began: float
    ticks: int = 0
    answered: int = 0
    late: bool = False


@dataclass(slots=True)
class _Bar:
    """Until when reads of a kind go alone, and for how long that is."""

    until: float
    seconds: float


class Batcher:
    """Collects reads and sends them together."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._waiting: dict[Identity, list[Read]] = {}
        self._fetching: set[asyncio.Task[None]] = set()
        self._paces: dict[str, float] = {}
        self._bars: dict[str, _Bar] = {}
        self._trip = inf  # seconds to Postgres and back
        self._running: dict[Batch, _Watched] = {}
        self._ticking = False

    def join(self, identity: Identity, statement: Statement) -> asyncio.Future[Row | None] | None:
        """Have a read go with others of this moment; `None` when it has to go alone.

        The future has its row, or `None` when it has to go alone after all. It raises what Postgres
        says, or what `Source.acquire` does.
        """
        text = statement.text
        pace = self._paces.get(text, _LONGEST)
        if pace >= _LONGEST or (self._bars and self._is_barred(text)):
            return None
        try:
            bound = messages.values(statement.values)
        except messages.Unsendable:
            return None
        loop = asyncio.get_running_loop()
        read = Read(text, bound, pace, loop.create_future())
        waiting = self._waiting.get(identity)
        if waiting is None:
            self._waiting[identity] = [read]
            loop.call_soon(self._send, identity)
        else:
            waiting.append(read)
        return read.row

    def note_trip(self, seconds: float) -> None:
        """Note how long something took that is nothing for Postgres."""
        self._trip = min(seconds, self._trip * _GROWTH)

    def note(self, text: str, seconds: float, among: int = 1) -> None:
        """Note how long it took from sending so many reads to the last of their rows."""
        self._trip = min(seconds, self._trip)
        seconds = max((seconds - self._trip) / among, _LEAST)
        pace = self._paces.get(text)
        if pace is None:
            if len(text) > _LONGEST_TEXT:
                return
            if len(self._paces) >= _MOST_KINDS:
                self._paces.clear()
                self._bars.clear()
        elif seconds > pace:
            seconds = min(seconds, pace * _GROWTH)
        self._paces[text] = seconds

    def _bar(self, text: str) -> None:
        seconds, now, before = _BARRED, time.monotonic(), self._bars.get(text)
        if before is not None and now < before.until + before.seconds * _AGAIN:
            seconds = min(before.seconds * 2, _BARRED_LONGEST)
        self._bars[text] = _Bar(now + seconds, seconds)

    def _is_barred(self, text: str) -> bool:
        bar = self._bars.get(text)
        return bar is not None and bar.until > time.monotonic()

    def _send(self, identity: Identity) -> None:
        while identity in self._waiting:
            held = self._source.take(identity)
            if held is None:
                task = asyncio.ensure_future(self._fetch(identity))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
                return
            self._begin(identity, held)

    async def _fetch(self, identity: Identity) -> None:
        """Wait for a connection; what comes meanwhile goes on it too."""
        try:
            held = await self._source.acquire(identity)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits to be told
            for read in self._waiting.pop(identity):
                if not read.row.done():
                    read.row.set_exception(error)
            return
        self._begin(identity, held)
        self._send(identity)

    def _begin(self, identity: Identity, held: Held) -> None:
        reads = self._next(identity)
        if not reads:
            self._source.release(held)
            return
        if held.raw.transport.is_closing():
            self._source.discard(held)
            leave_alone(reads)
            return
        began = time.monotonic()
        batch = Batch(held.raw, identity.role, reads, partial(self._end, held))
        self._running[batch] = _Watched(began)
        try:
            batch.send()
        except Exception:
            log.exception("a batch of reads was not sent")
            batch.cut()
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _next(self, identity: Identity) -> list[Read]:
        """Return the next reads of an identity that go together."""
        waiting, reads, seconds = self._waiting.pop(identity), list[Read](), 0.0
        for place, read in enumerate(waiting):
            if read.row.done():  # given up
                continue
            seconds += read.pace
            if reads and (seconds > _LONGEST or len(reads) == _MOST):
                self._waiting[identity] = waiting[place:]
                break
            reads.append(read)
        return reads

    def _end(self, held: Held, batch: Batch) -> None:
        watched = self._running.pop(batch)
        for text in batch.unreadable:
            self._bars[text] = _Bar(inf, inf)
        texts = {read.text for read in batch.reads}
        if not batch.sound:
            self._source.discard(held)
            if not batch.lost:
                for text in texts:
                    self._bar(text)
            return
        self._source.release(held)
        seconds = time.monotonic() - watched.began
        for text in texts:
            self.note(text, seconds, len(batch.reads))

    def _tick(self) -> None:
        latest = time.monotonic() - 2 * self._trip
        for batch, watched in list(self._running.items()):
            watched.ticks += 1
            if watched.ticks >= _TICKS and watched.began < latest:
                self._hurry(batch, watched)
            watched.answered = batch.answered
        self._ticking = bool(self._running)
        if self._ticking:
            asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _hurry(self, batch: Batch, watched: _Watched) -> None:
        """Have those behind a slow read go alone; one that nobody waits for is stopped.

        Postgres comes to their first sending too, whose rows are thrown away.
        """
        slow = batch.reads[batch.answered]
        if slow.row.done():
            if batch.answered == watched.answered:
                batch.cut()
        elif not watched.late:
            watched.late = True
            self._bar(slow.text)
            leave_alone(batch.reads[batch.answered + 1 :])
