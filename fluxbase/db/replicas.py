"""Chooses a replica that already shows what the caller wrote; it must not send any read itself."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.db.pulse import Pulse

if TYPE_CHECKING:
    from fluxbase.db.pool import Pool
    from fluxbase.principal import Principal

_EVERY: Final = 0.2
_REMEMBERED: Final = 10_000
_STALE: Final = 5.0  # seconds without an answer after which a replica gets no reads
_BEYOND: Final = 1 << 64  # no replica ever replays this far


def lsn(text: str) -> int:
    """Return a position of the write-ahead log such as `16/B374D848` as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


@dataclass(slots=True, eq=False)
class Replica:
    """One replica's address and pool, how far it has replayed, and when it last said so."""

    url: str
    pool: Pool
    replayed: int = 0
    heard: float = 0.0


class Replicas:
    """How far each replica has replayed, how far each caller has written, and the catalog."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._replicas = replicas
        self._written: OrderedDict[str, int] = OrderedDict()
        self._catalog = 0
        self._forgotten = 0
        self._turn = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._replicas)

    @property
    def pools(self) -> list[Pool]:
        """The pools of all replicas."""
        return [replica.pool for replica in self._replicas]

    def lost_track(self, who: Principal) -> None:
        """Keep the caller to the primary: nobody knows whether its write was kept, or where."""
        self._remember(who, _BEYOND)

    def wrote(self, who: Principal, position: str) -> None:
        """Remember that the caller's writes reach up to `position`."""
        before = self._written.get(who.id, 0)
        self._remember(who, max(lsn(position), before if before < _BEYOND else 0))

    def catalog_loaded(self, position: str) -> None:
        """Remember what a replica must have replayed to guard its tables as the catalog says."""
        self._catalog = lsn(position)

    def choose(self, who: Principal) -> Replica | None:
        """Return a replica that has replayed the caller's writes, in turn; `None`: the primary."""
        if not self._replicas or who.is_service:
            return None
        needed = max(self._written.get(who.id, 0), self._catalog, self._forgotten)
        now = time.monotonic()
        fit = [
            replica
            for replica in self._replicas
            if replica.heard and now - replica.heard < _STALE and replica.replayed >= needed
        ]
        return fit[next(self._turn) % len(fit)] if fit else None

    async def follow(self) -> None:
        """Ask every replica for its position, over and over, until cancelled."""
        await asyncio.gather(*(self._follow(replica) for replica in self._replicas))

    async def close(self) -> None:
        """Close the pools."""
        await asyncio.gather(*(pool.close() for pool in self.pools))

    def _remember(self, who: Principal, position: int) -> None:
        self._written[who.id] = position
        self._written.move_to_end(who.id)
        if len(self._written) > _REMEMBERED:
            # What is forgotten of one binds all: no replica may be behind it.
            self._forgotten = max(self._forgotten, self._written.popitem(last=False)[1])

    async def _follow(self, replica: Replica) -> None:
        def heard(silent: bool) -> None:
            replica.pool.silence(silent=silent)
            if silent:
                replica.pool.cut()
            if pulse.row is None:  # it is away, or is a standby no more
                replica.heard = 0.0
                return
            replica.replayed = lsn(pulse.row["position"])
            replica.heard = time.monotonic()

        pulse = Pulse(replica.url, "replay_position", heard, every=_EVERY)
        await pulse.run()
