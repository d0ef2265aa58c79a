"""Gives the rows of collections their vectors, in the background; it must not know who wrote them.

The queue is a table: rows are lent for some minutes, so whoever dies gives them back. A row waits
once, however often it is written, and a vector that was made of an older text does not end its
wait. While the model is away nothing is given up: the queue waits, and is worked off afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from fluxbase.db.errors import may_be_a_value
from fluxbase.errors import FluxbaseError, Unavailable
from fluxbase.toolkit.pause import pause
from fluxbase.vectors.lent import Lent, Signs, return_texts, text_of

if TYPE_CHECKING:
    from fluxbase.db.database import Database
    from fluxbase.egress.embed import Embedder

log = logging.getLogger(__name__)

_LENT: Final = 300.0
_IDLE: Final = 5.0
_LEAST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_POSTPONED: Final = 15.0


class Filling:
    """Works the queue off; several may, in one process or in many."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database = database
        self._embedder = embedder
        self._signs = Signs()

    async def run(self, wakes: asyncio.Event) -> None:
        """Work until cancelled; `wakes` is set when there may be something new."""
        seconds = 0.0
        while True:
            wakes.clear()  # before the look: what comes meanwhile is seen by the next one
            try:
                took = await self.turn()
            except FluxbaseError as error:
                if not seconds:
                    log.warning("texts wait for their vectors: %s", error.message)
                seconds = min(_LONGEST_PAUSE, max(_LEAST_PAUSE, 2 * seconds))
                await asyncio.sleep(_LEAST_PAUSE * (0.75 + random.random() / 2))  # noqa: S311
                await pause(wakes, seconds - _LEAST_PAUSE)
                continue
            seconds = 0.0
            if not took:
                await pause(wakes, _IDLE)

    async def turn(self, collection: str | None = None) -> int:
        """Embed one batch of what is due, and return how many rows that were.

        Raises:
            Unavailable: the model or the database is away; the rows are due again in a moment.
        """
        model = self._embedder.model
        if model is None:
            return 0
        if collection is not None:
            return await self._turn(collection, model)
        due = await self._database.admin("due_collections", model=model)
        names = [row["name"] for row in due]
        random.shuffle(names)  # a long queue shall not keep the short ones waiting
        for name in names:
            try:
                took = await self._turn(name, model)
            except FluxbaseError as error:
                if isinstance(error, Unavailable) and not may_be_a_value(error):
                    raise
                # A collection whose table was changed under it must not hold up the others.
                await self._postpone(name, error)
                continue
            if took:
                return took
        return 0

    async def _turn(self, name: str, model: str) -> int:
        embedder = self._embedder
        rows = await self._database.admin(
            "claim_texts", collection=name, model=model, most=embedder.batch_size, seconds=_LENT
        )
        texts = [text_of(row, embedder.max_characters) for row in rows]
        for text in texts:
            if text.fault is not None:
                await return_texts(self._database, name, [text], text.fault, give_up_after=1)
        good = [text for text in texts if text.fault is None]
        lent = Lent(self._database, embedder, name, model, self._signs)
        await lent.work_off(good)
        return len(texts)

    async def _postpone(self, name: str, error: FluxbaseError) -> None:
        log.warning("the texts of a collection cannot be embedded: %s", error.message)
        await self._database.admin(
            "postpone_collection", name=name, seconds=_POSTPONED, error=error.message
        )
