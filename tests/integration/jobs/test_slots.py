"""What a worker counts: slots that are taken are given back, however little came of a job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest

from fluxbase.app.desk import ADMINISTRATOR
from fluxbase.jobs.attempt import Means
from fluxbase.jobs.identity import kept
from fluxbase.jobs.worker import Terms, Worker
from fluxbase.toolkit.handlers import Handlers

if TYPE_CHECKING:
    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.db.database import Database
    from fluxbase.principal import Principal
    from fluxbase.toolkit.runner import Runner

pytestmark = pytest.mark.usefixtures("clean")

SUBMIT = """
WITH d AS (
  INSERT INTO jobs.definitions (name, handler, queue, timeout_seconds, max_attempts)
  VALUES ('never', 'none:never', 'slots', 30, 1) RETURNING id
)
INSERT INTO jobs.jobs (definition, namespace, name, holder, principal, queue, priority, payload,
  max_attempts, ready)
SELECT id, 'default', 'never', 'cli', $1::text::json, 'slots', 0, '{}', 1, true FROM d
RETURNING id::text
"""


class Between:
    """The database; between a claim and the first step of what was claimed it tells a worker."""

    def __init__(self, database: Database, job: str) -> None:
        self._database = database
        self._job = job
        self.worker: Worker | None = None
        self.asked: list[int] = []
        self.enough = asyncio.Event()

    async def admin(self, name: str, **arguments: Any) -> Any:
        if name == "claim_jobs":
            self.asked.append(arguments["most"])
            if len(self.asked) == 4:
                self.enough.set()
            if len(self.asked) == 2 and self.worker is not None:
                self.worker.hear(f"!cancel {self._job}")
        return await self._database.admin(name, **arguments)


async def test_a_job_that_is_cancelled_before_its_first_step_gives_its_slot_back(
    backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    job = await owner.fetchval(SUBMIT, kept(ADMINISTRATOR))
    begun: list[Principal] = []

    async def vouch(who: Principal) -> Principal:
        begun.append(who)
        return who

    between = Between(backend.database, job)
    database = cast("Database", between)
    means = Means(database, cast("Runner", None), Handlers(), vouch, 0.01, 1000)
    worker = Worker(means, Terms({"slots": 2}, 30.0, 0.02, None, 60.0), lambda _: None)
    between.worker = worker
    working = asyncio.create_task(worker.run())
    try:
        await asyncio.wait_for(between.enough.wait(), 15)
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    assert not begun
    assert between.asked[:2] == [2, 1]
    assert between.asked[3] == 2
