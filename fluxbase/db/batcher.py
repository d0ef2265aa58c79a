"""Which reads go together: those of one identity that come at the same moment and are quick.

One connection then takes them in one write and answers in one read, where each would else wake a
process of Postgres and be woken by it, which costs both sides more than a small read itself. A read
that cannot go in a batch, or finds no answer there, goes alone: so a batch refuses nothing and
fails nobody, and every error is the driver's own. It must not know who reads what, or why.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from fluxbase.db import messages
from fluxbase.db.batch import Batch, Read, leave_alone

if TYPE_CHECKING:
    from fluxbase.db.held import Held, Identity
    from fluxbase.db.messages import Row
    from fluxbase.db.sql import Statement

_TICK: Final = 0.01  # seconds; no answer for a whole one of these, and a batch is stuck
_BARRED: Final = 10.0  # seconds that reads of a kind go alone after one was stuck or failed
_LONGEST: Final = 0.001  # seconds that the last of a batch may have to wait for those before it
_LEAST: Final = 0.00003  # seconds that Postgres is taken to need for any read
# What a kind of read takes is the least it took, which grows a little each time it took more: most
# of what is measured is how long this process was busy with something else.
_GROWTH: Final = 1.001
_TRIP_GROWTH: Final = 1.1
_MOST: Final = 16
_MOST_KINDS: Final = 1024
_LONGEST_TEXT: Final = 8_192
_MOST_BYTES: Final = 16_384
_NEW: Final = -1


class Source(Protocol):
    """Where connections come from; `fluxbase.db.pool.Pool` is one."""

    def take(self, identity: Identity | None, /) -> Held | None:
        """Return an idle connection that is set to `identity` already, if there is one."""
        ...

    def release(self, held: Held, /) -> None:
        """Take a connection back."""
        ...

    def discard(self, held: Held, /) -> None:
        """Close a connection whose state is unknown."""
        ...


@dataclass(slots=True)
class _Watched:
    """When a batch was sent, and how far it was at the last tick."""

    began: float
    answered: int = _NEW


class Batcher:
    """Collects reads and sends them together."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._waiting: dict[Identity, list[Read]] = {}
        self._paces: dict[str, float] = {}
        self._trip = 0.0  # seconds to Postgres and back
        self._barred: dict[str, float] = {}
        self._running: dict[Batch, _Watched] = {}
        self._ticks = False

    def join(self, identity: Identity, statement: Statement) -> asyncio.Future[Row | None] | None:
        """Have a read go with others of this moment; `None` when it has to go alone.

        The future has its row, or `None` when it has to go alone after all.
        """
        text = statement.text
        pace = self._paces.get(text, _LONGEST)
        if pace >= _LONGEST or (self._barred and self._is_barred(text)):
            return None
        try:
            bound = messages.values(statement.values)
        except messages.Unsendable:
            return None
        if len(bound) > _MOST_BYTES:
            return None
        loop = asyncio.get_running_loop()
        read = Read(text, bound, pace, loop.create_future())
        waiting = self._waiting.get(identity)
        if waiting is None:
            if not self._waiting:
                loop.call_soon(self._send)
            self._waiting[identity] = [read]
        else:
            waiting.append(read)
        return read.row

    def note_trip(self, seconds: float) -> None:
        """Note how long something took that is next to nothing for Postgres."""
        self._trip = min(seconds, self._trip * _TRIP_GROWTH or seconds)

    def note(self, text: str, seconds: float, among: int = 1) -> None:
        """Note how long it took from sending so many reads to the last of their rows."""
        seconds = max((seconds - self._trip) / among, _LEAST)
        pace = self._paces.get(text)
        if pace is None:
            if len(text) > _LONGEST_TEXT:
                return
            if len(self._paces) >= _MOST_KINDS:
                self._paces.clear()
                self._barred.clear()
        elif seconds > pace:
            seconds = min(seconds, pace * _GROWTH)
        self._paces[text] = seconds

    def bar(self, text: str) -> None:
        """Have reads of a kind go alone for a while."""
        self._barred[text] = time.monotonic() + _BARRED

    def _is_barred(self, text: str) -> bool:
        until = self._barred.get(text)
        if until is None:
            return False
        if until > time.monotonic():
            return True
        del self._barred[text]
        return False

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for identity, reads in waiting.items():
            batch: list[Read] = []
            seconds = 0.0
            for read in reads:
                if read.row.done():  # given up
                    continue
                seconds += read.pace
                if batch and (seconds > _LONGEST or len(batch) == _MOST):
                    self._begin(identity, batch)
                    batch, seconds = [], read.pace
                batch.append(read)
            if batch:
                self._begin(identity, batch)

    def _begin(self, identity: Identity, reads: list[Read]) -> None:
        held = self._source.take(identity)
        if held is None or held.raw.transport.is_closing():
            if held is not None:
                self._source.discard(held)
            leave_alone(reads)
            return
        began = time.monotonic()
        batch = Batch(held.raw, identity.role, reads, partial(self._end, held, began))
        self._running[batch] = _Watched(began)
        batch.send()
        if not self._ticks:
            self._ticks = True
            asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _end(self, held: Held, began: float, batch: Batch) -> None:
        del self._running[batch]
        for text in batch.refused:
            self.bar(text)
        if not batch.sound:
            self._source.discard(held)
            return
        self._source.release(held)
        seconds = time.monotonic() - began
        for text in {read.text for read in batch.reads}:
            self.note(text, seconds, len(batch.reads))

    def _tick(self) -> None:
        late = time.monotonic() - 2 * self._trip
        for batch, watched in list(self._running.items()):
            if batch.answered == watched.answered and watched.began < late:
                self._unstick(batch)
            watched.answered = batch.answered
        self._ticks = bool(self._running)
        if self._ticks:
            asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _unstick(self, batch: Batch) -> None:
        """Let those behind a slow read go alone; one that nobody waits for any more is stopped."""
        slow = batch.reads[batch.answered]
        if slow.row.done():
            batch.cut()
        else:
            self.bar(slow.text)
            leave_alone(batch.reads[batch.answered + 1 :])
