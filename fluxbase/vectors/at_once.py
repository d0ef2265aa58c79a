"""Embeds the rows of one collection while somebody waits for it; a server may do a part of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from fluxbase.egress.embed import Embedder
from fluxbase.errors import Unavailable
from fluxbase.vectors import collections
from fluxbase.vectors.filling import Filling
from fluxbase.vectors.tending import Tending

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fluxbase.toolkit import Context

    # Given how many rows there are, yields what is told of each few that are done.
    Show: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], None]]]

_PATIENCE: Final = 5  # times in a row that the model may be away
_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What was done, and what is left."""

    collection: str
    embedded: int
    waiting: int
    failed: int
    error: str | None
    index: str


async def reindex(ctx: Context, name: str, *, every: bool, show: Show) -> Reindexed:
    """Embed what `collections.reindex` queues, and build the index; it may be stopped at any time.

    Raises:
        UnknownCollection: there is none of that name.
        Unavailable: the model stays away; what is not done yet waits.
    """
    total = await collections.reindex(ctx, name, every=every)
    tending = Tending(ctx.database)
    await tending.seed(name)
    with show(total) as advance:
        await _fill(ctx, name, total, advance)
    await tending.adopt()
    await tending.build_index(name)
    found = await collections.entry(ctx, name)
    failed = found.failed or 0
    done = max(0, total - failed)
    return Reindexed(name, done, found.waiting or 0, failed, found.error, found.index_state)


async def _fill(ctx: Context, name: str, total: int, advance: Callable[[int], None]) -> None:
    filling = Filling(ctx.database, ctx.service(Embedder))
    done = failures = 0
    while True:
        took = 0
        try:
            took = await filling.turn(name)
            failures = 0
        except Unavailable:
            failures += 1
            if failures == _PATIENCE:
                raise
        left = (await collections.entry(ctx, name)).waiting or 0
        advance(max(0, total - left - done))
        done = max(done, total - left)
        if not left:
            return
        if not took:
            await asyncio.sleep(_PAUSE)
