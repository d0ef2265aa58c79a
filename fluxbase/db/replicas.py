"""Chooses a replica that already shows what the caller wrote; it must not send any read itself."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbase.db.errors import translate
from fluxbase.db.queries import queries
from fluxbase.errors import FluxbaseError

if TYPE_CHECKING:
    from fluxbase.db.pool import Pool
    from fluxbase.principal import Principal

_EVERY: Final = 0.2
_REMEMBERED: Final = 10_000
_STALE: Final = 5.0  # seconds without an answer after which a replica gets no reads


def lsn(text: str) -> int:
    """Return a position of the write-ahead log such as `16/B374D848` as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class Replicas:
    """The replicas' pools, how far each has replayed, and how far each caller has written."""

    def __init__(self, pools: list[Pool]) -> None:
        self.pools = pools
        self._replayed = [0] * len(pools)
        self._heard = [0.0] * len(pools)
        self._written: OrderedDict[str, int] = OrderedDict()
        self._turn = itertools.count()

    def __bool__(self) -> bool:
        return bool(self.pools)

    def wrote(self, who: Principal, position: str) -> None:
        """Remember that the caller's writes reach up to `position`."""
        self._written[who.id] = max(lsn(position), self._written.get(who.id, 0))
        self._written.move_to_end(who.id)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def choose(self, who: Principal) -> Pool | None:
        """Return a replica that has replayed the caller's writes, in turn; `None`: the primary."""
        if not self.pools or who.is_service:
            return None
        needed = self._written.get(who.id, 0)
        now = time.monotonic()
        fit = [
            pool
            for pool, replayed, heard in zip(self.pools, self._replayed, self._heard, strict=True)
            if heard and now - heard < _STALE and replayed >= needed
        ]
        return fit[next(self._turn) % len(fit)] if fit else None

    async def follow(self) -> None:
        """Ask every replica for its position, over and over, until cancelled."""
        if self.pools:
            await asyncio.gather(*(self._follow(n) for n in range(len(self.pools))))

    async def close(self) -> None:
        """Close the pools."""
        await asyncio.gather(*(pool.close() for pool in self.pools))

    async def _follow(self, number: int) -> None:
        pool, query = self.pools[number], queries()["replay_position"].sql
        while True:
            with suppress(FluxbaseError):
                held = await pool.acquire_bare()
                try:
                    position = await held.raw.fetchval(query, timeout=_STALE)
                except Exception as error:
                    pool.discard(held)
                    raise translate(error) from error
                except BaseException:
                    pool.discard(held)
                    raise
                pool.release(held)
                self._replayed[number] = lsn(str(position))
                self._heard[number] = time.monotonic()
            await asyncio.sleep(_EVERY)
