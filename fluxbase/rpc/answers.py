"""Keeps answers of procedures for a while, each for one caller alone; it must not call any.

What an answer depends on is its place: the procedure and its function as they are now, the caller
with its claims, the parameters, and the state of the catalog. So a change of any of them, of a
privilege or of a policy finds nothing here, and nothing has to be taken away for that.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fluxbase.strict_json import dumps, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.rpc.procedures import Procedure
    from fluxbase.toolkit import Context

_OVERHEAD: Final = 512  # bytes an entry takes beside its text, rather too many


class Given(NamedTuple):
    """What a call gave: JSON, how many rows that is, and whether there were more."""

    execution: str
    data: str
    rows: int
    truncated: bool


class _Kept(NamedTuple):
    given: Given
    until: float
    size: int


class Answers:
    """The answers that one server process keeps, no more than a number of bytes."""

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_bytes
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def find(self, place: bytes) -> Given | None:
        """Return what was kept there, if its time is not over."""
        found = self._kept.get(place)
        if found is None:
            return None
        if self._clock() >= found.until:
            self._drop(place)
            return None
        self._kept.move_to_end(place)
        return found.given

    def keep(self, place: bytes, given: Given, seconds: float) -> None:
        """Keep an answer, in place of those that were not asked for longest."""
        size = len(given.data.encode()) + _OVERHEAD
        self._drop(place)
        if size > self._most:
            return
        self._kept[place] = _Kept(given, self._clock() + seconds, size)
        self._bytes += size
        while self._bytes > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, place: bytes) -> None:
        found = self._kept.pop(place, None)
        if found is not None:
            self._bytes -= found.size


def place_of(ctx: Context, procedure: Procedure, params: Mapping[str, Any], most: int) -> bytes:
    """Return the place of an answer: equal for equal calls of one caller only."""
    who = ctx.who
    whose = [
        who.kind,
        who.id,
        who.client_id,
        who.role,
        who.claims,
        who.settings,
        ctx.config.max_bytes,
    ]
    asked = [procedure.version, ctx.catalog.version, most, whose, in_order(dict(params))]
    return sha256(dumps(asked)).digest()
