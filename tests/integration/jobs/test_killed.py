"""Workers are killed at random: every job is done, its effects once, and nothing is stuck.

`FLUXBASE_TEST_JOBS` says how many jobs; 10000 is what the product promises.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.jobs.conftest import Stand, publish, submit, until
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import asyncpg

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("FLUXBASE_TEST_JOBS", "800"))
WORKERS = 3
MOST_KILLED = 10 + MANY // 100
TABLE = """
CREATE TABLE public.job_effects (id bigint GENERATED ALWAYS AS IDENTITY, job uuid);
ALTER TABLE public.job_effects ENABLE ROW LEVEL SECURITY;
CREATE POLICY open ON public.job_effects USING (true) WITH CHECK (true);
GRANT INSERT ON public.job_effects TO authenticated;
"""
COPIES = """
INSERT INTO jobs.jobs (definition, namespace, name, holder, principal, queue, priority, payload,
  max_attempts, ready)
SELECT definition, namespace, name, holder, principal, queue, priority, payload, max_attempts, true
FROM jobs.jobs, generate_series(2, $1)
"""
LEFT = "SELECT count(*) FROM jobs.jobs WHERE status IN ('pending', 'running')"


class Crew:
    """Worker processes, of which one may be killed at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}

    def start(self) -> None:
        path = self.folder / f"{len(self._logs)}.log"
        log = path.open("wb")
        command = [sys.executable, "-m", "fluxbase", "worker"]
        environment = {k: v for k, v in os.environ.items() if "FLUXBASE" not in k}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        log.close()
        self.processes.append(process)
        self._logs[process.pid] = path

    def kill_one(self) -> None:
        process = self.processes.pop(random.randrange(len(self.processes)))  # noqa: S311
        process.kill()
        process.wait()

    async def ready(self) -> None:
        """Wait until every worker works."""

        async def works() -> bool:
            texts = [self._logs[process.pid].read_text() for process in self.processes]
            return all("working off crash" in text for text in texts)

        await until(works, "workers that are ready")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@pytest.fixture
def crew(backend: Backend, home: Path) -> Generator[Crew]:
    with tempfile.TemporaryDirectory(prefix="fluxbase-test-") as name:
        folder = Path(name)
        config: dict[str, Any] = {
            "database": {"url": backend.database.logins.admin, "client_pool_size": 8},
            "auth": {"peppers_file": str(home / "peppers")},
            "server": {"drain_timeout": "5s"},
            "jobs": {
                "queues": {"crash": 10},
                "lease": "1s",
                "poll": "0.3s",
                "backoff": "0.05s",
                "handlers": {"effect": "tests.integration.jobs.handlers:effect"},
            },
        }
        (folder / "fluxbase.yaml").write_text(yaml.safe_dump(config))
        made = Crew(folder)
        yield made
        for process in made.processes:
            process.kill()
            process.wait()


async def test_jobs_survive_workers_that_are_killed_at_random(
    standing: Callable[..., Any], crew: Crew, owner: Owner
) -> None:
    await owner.execute(TABLE)
    handlers = {"effect": "tests.integration.jobs.handlers:effect"}
    async with standing(queues={}, handlers=handlers) as stand:
        try:
            await submitted(stand, owner)
            await worked_off(crew, owner)
            await assert_done_once(stand, owner)
        finally:
            await owner.execute("DROP TABLE public.job_effects")
    assert "Traceback" not in crew.logs()
    await crew.ready()
    for process in crew.processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(15) for process in crew.processes] == [0] * WORKERS


async def submitted(stand: Stand, owner: Owner) -> None:
    await publish(stand, "effect", queue="crash", max_attempts=50)
    await submit(stand.one, "effect")
    await owner.execute(COPIES, MANY)


async def worked_off(crew: Crew, owner: Owner) -> None:
    """Kill workers while there is work, as often as leaves them time to do it."""
    for _ in range(WORKERS):
        crew.start()
    killed, end = 0, time.monotonic() + 120 + MANY / 10
    took = "SELECT count(*) FROM jobs.jobs WHERE status = 'running'"

    async def busy() -> bool:
        left = await owner.fetchval(LEFT)
        return not left or await owner.fetchval(took) >= 5

    while await owner.fetchval(LEFT):
        assert time.monotonic() < end, crew.logs()
        await until(busy, "workers that work")
        await asyncio.sleep(random.random())  # noqa: S311
        if killed < MOST_KILLED and await owner.fetchval(LEFT):
            crew.kill_one()
            crew.start()
            killed += 1
    assert killed


async def assert_done_once(stand: Stand, owner: Owner) -> None:
    found = await owner.fetch("SELECT status, count(*) AS n FROM jobs.jobs GROUP BY 1")
    assert {row["status"]: row["n"] for row in found} == {"completed": MANY}
    effects = await owner.fetchrow("SELECT count(*), count(DISTINCT job) FROM job_effects")
    assert tuple(effects or ()) == (MANY, MANY)
    again = await owner.fetchval("SELECT count(*) FROM jobs.jobs WHERE attempt > 1")
    assert again, "no job was interrupted: the test kills nothing that matters"
    missing = await owner.fetchval(
        "SELECT count(*) FROM jobs.jobs j WHERE NOT EXISTS "
        "(SELECT FROM job_effects e WHERE e.job = j.id)"
    )
    assert missing == 0
    assert (await stand.one.call("list_jobs", limit=1))["count"] == 1
