"""Keeps collections filled by the model of the configuration in force; knows no queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fluxbase.app.rooms import embedder
from fluxbase.vectors.filling import Filling
from fluxbase.vectors.tending import Tending

if TYPE_CHECKING:
    from fluxbase.config import Config
    from fluxbase.db.database import Database


class Fillers:
    """The background work of one server process on all collections."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._config = config
        self._wakes: list[asyncio.Event] = []
        self._changed = asyncio.Event()

    def hear(self, _payload: str) -> None:
        """Take in that texts may wait for their vectors."""
        for wakes in self._wakes:
            wakes.set()

    def configure(self, config: Config) -> None:
        """Go on by another configuration, where it says something else of embeddings."""
        old, self._config = self._config.vectors, config
        if old != config.vectors:
            self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._changed.clear()
            await self._run_until_changed()

    async def _run_until_changed(self) -> None:
        model = embedder(self._config, self._database)
        many = self._config.vectors.embeddings.concurrency if model.is_configured else 0
        filling = Filling(self._database, model)
        self._wakes = [asyncio.Event() for _ in range(many + 1)]
        works = [filling.run(wakes) for wakes in self._wakes[1:]]
        tending = Tending(self._database).run(self._wakes[0])
        tasks = [asyncio.ensure_future(w) for w in (*works, tending, self._changed.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task  # a fault that nobody expected starts all of it again
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
