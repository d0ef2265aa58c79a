"""Furnishes the world for the data rooms: vectors, a bucket, and one key that may use them all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from fluxbase.db.database import session_settings
from tests.bench import vectors
from tests.bench.peers.asking import answered
from tests.bench.peers.mcp_servers import SEARCHES, searching
from tests.bench.transfers import BUCKET
from tests.bench.vectors import SEARCH
from tests.bench.world import issued

if TYPE_CHECKING:
    from tests.bench.load import Http
    from tests.bench.world import World

_SCOPES: Final = ("read:tables", "read:vectors", "read:storage", "write:storage", "execute:sql")


@dataclass(frozen=True, slots=True)
class Rooms:
    """The furnished world, whose only caller is the rooms' key, and what is near each question."""

    world: World
    rows: int
    near: list[list[int]]

    def searched(self, contestant: Http) -> dict[str, Any]:
        """Return how many of the true neighbours our server finds, and among what."""
        [caller] = self.world.callers
        found: list[list[int]] = []
        for number in range(vectors.QUESTIONS):
            answer = answered(contestant.port, searching(SEARCH, caller, number))[0]
            found.append([row["id"] for row in SEARCHES.rows(SEARCH, json.loads(answer))])
        return {
            "rows": self.rows,
            "size": vectors.SIZE,
            "owners": vectors.OWNERS,
            "questions": vectors.QUESTIONS,
            "recall": vectors.recall(found, self.near),
        }


async def furnish(world: World, rows: int) -> Rooms:
    """Fill the tables of the rooms."""
    admin = await asyncpg.connect(world.backend.database.logins.admin)
    try:
        await vectors.fill(admin, rows)
        await admin.execute("INSERT INTO storage.buckets (id) VALUES ($1)", BUCKET)
        caller = await issued(world.backend, "bench rooms", 0, _SCOPES)
    finally:
        await admin.close()
    settings = session_settings(world.config.database)
    near = await vectors.exact(world.url, settings, caller)
    return Rooms(replace(world, callers=(caller,)), rows, near)


def empty(world: World) -> None:
    """Forget all objects, whose bytes the next server could not delete; not for a loop to call."""
    asyncio.run(_empty(world.backend.database.logins.admin))


async def _empty(url: str) -> None:
    admin = await asyncpg.connect(url)
    try:
        await admin.execute("DELETE FROM storage.objects; DELETE FROM storage.blobs")
    finally:
        await admin.close()
