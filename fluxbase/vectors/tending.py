"""Does what collections need beside vectors: first queues, new models, indexes; embeds nothing."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbase.db.vector_index import FEW_FOR_LISTS, VectorIndex
from fluxbase.errors import FluxbaseError, Unavailable
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    import asyncio

    from fluxbase.db.database import Database
    from fluxbase.db.types import Record

log = logging.getLogger(__name__)

_EVERY: Final = 5.0
_SLICE: Final = 1000  # rows in one transaction, so that no writer waits long for it


class Tending:
    """One of these in each process is enough; those of several do not get into each other's way."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, wakes: asyncio.Event) -> None:
        """Work until cancelled; `wakes` is set when there may be something new."""
        while True:
            wakes.clear()
            with suppress(FluxbaseError):  # the database is away, or somebody holds what is needed
                await self.seed()
                await self.adopt()
                await self.build_index()
            await pause(wakes, _EVERY)

    async def seed(self, collection: str | None = None) -> None:
        """Queue the rows that collections have had since before they were made or reindexed.

        Raises:
            FluxbaseError: the database is away, or holds what one slice needs.
        """
        for row in await self._database.admin("seeding_collections", name=collection):
            more = True
            while more:
                [slice_] = await self._database.works.run(
                    "seed_collection", name=row["name"], most=_SLICE
                )
                more = slice_["more"]

    async def adopt(self) -> None:
        """End changes to another model of which no row waits any more.

        Raises:
            FluxbaseError: the database is away.
        """
        for row in await self._database.admin("changing_collections"):
            await self._database.works.run("adopt_model", name=row["name"])

    async def build_index(self, collection: str | None = None) -> None:
        """Build the indexes that collections want whose rows all have their vectors.

        Raises:
            FluxbaseError: the database is away.
        """
        for row in await self._database.works.run("wanted_index", collection=collection):
            if row["index_kind"] == "ivfflat" and row["rows"] < FEW_FOR_LISTS:
                continue
            try:
                await self._database.works.build_index(index_of(row))
            except Unavailable:
                raise
            except FluxbaseError as error:
                log.warning("the index of a collection cannot be built: %s", error.message)
                await self._database.admin(
                    "set_index_state",
                    name=row["name"],
                    state="failed",
                    error=error.message,
                    known=row["index_state"],
                )


def index_of(row: Record) -> VectorIndex:
    """Return the index that a row of `wanted_index` asks for."""
    return VectorIndex(
        collection=row["name"],
        relation=row["oid"],
        schema=row["schema"],
        table=row["table"],
        column=row["column"],
        kind=row["kind"],
        metric=row["metric"],
        method=row["index_kind"],
        rows=row["rows"],
        own=row["index_name"],
        state=row["index_state"],
    )
