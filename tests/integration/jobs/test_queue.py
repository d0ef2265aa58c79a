"""The queue itself: who gets what, for how long, and what becomes of it when a worker is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from tests.integration.jobs.conftest import Stand, publish, refused, submit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]


class Queue:
    """The queue as a worker has it."""

    def __init__(self, backend: Backend, stand: Stand) -> None:
        self.ask = backend.database.admin
        self.stand = stand
        self.worker = str(uuid4())

    async def claim(self, most: int = 10, at: Any = None, per_key: int | None = None) -> list[Any]:
        return await self.ask(
            "claim_jobs",
            queue="tests",
            most=most,
            worker=self.worker,
            seconds=30.0,
            per_key=per_key,
            at=at,
        )

    async def end(self, row: Any, outcome: str, **more: Any) -> list[str]:
        ending = {"id": row["id"], "fence": row["fence"], "outcome": outcome, "pause": 0, **more}
        found = orjson.dumps([ending]).decode()
        return [r["status"] for r in await self.ask("end_attempts", found=found, at=None)]

    async def renew(self, *rows: Any, at: Any = None) -> set[str]:
        ids, fences = [r["id"] for r in rows], [r["fence"] for r in rows]
        kept = await self.ask("renew_jobs", ids=ids, fences=fences, seconds=30.0, at=at)
        return {r["id"] for r in kept}

    async def status(self, row: Any) -> dict[str, Any]:
        job = row["job_id"] if "job_id" in row else row["id"]
        return await self.stand.service.call("get_job_status", job_id=job)


@pytest.fixture
async def queue(backend: Backend, standing: Callable[..., Any]) -> AsyncGenerator[Queue]:
    """A queue that nobody else works off."""
    async with standing(queues={}) as stand:
        await publish(stand, "echo")
        yield Queue(backend, stand)


async def ahead(owner: Owner, **more: float) -> Any:
    return await owner.fetchval("SELECT clock_timestamp()") + timedelta(**more)


async def test_the_best_come_first_and_the_oldest_are_not_forgotten(
    queue: Queue, owner: Owner
) -> None:
    one = queue.stand.one
    old = [await submit(one, "echo", {"n": n}, priority=-100) for n in range(3)]
    high = [await submit(one, "echo", {"n": n}, priority=10 + n) for n in range(20)]
    first = await queue.claim(8)
    ids = [row["id"] for row in first]
    best = {job["job_id"] for job in high[-6:]}
    assert best <= set(ids)
    assert old[0]["job_id"] in ids
    # However many better ones there are, one claim in four of a single job takes the oldest.
    for _ in range(200):
        [row] = await queue.claim(1)
        if row["id"] == old[2]["job_id"]:
            break
        await submit(one, "echo", {}, priority=100)
    else:
        pytest.fail("the oldest job starves")


async def test_no_two_workers_get_the_same_job(queue: Queue) -> None:
    jobs = [await submit(queue.stand.one, "echo", {"n": n}) for n in range(40)]
    claims = await asyncio.gather(*(queue.claim(7) for _ in range(12)))
    got = Counter(row["id"] for rows in claims for row in rows)
    assert set(got) == {job["job_id"] for job in jobs}
    assert set(got.values()) == {1}


async def test_limits_of_a_key_hold_on_all_workers_together(queue: Queue) -> None:
    for caller in (queue.stand.one, queue.stand.two):
        for _ in range(6):
            await submit(caller, "echo")
    claims = await asyncio.gather(*(queue.claim(5, per_key=3) for _ in range(6)))
    rows = [row for rows in claims for row in rows]
    more = await queue.claim(5, per_key=3)
    assert set(Counter(row["holder"] for row in [*rows, *more]).values()) == {3}
    [ended] = await queue.end(rows[0], "completed")
    assert ended == "completed"
    [next_] = await queue.claim(5, per_key=3)
    assert next_["holder"] == rows[0]["holder"]


async def test_limits_of_a_kind_of_job_hold_on_all_workers_together(queue: Queue) -> None:
    await publish(queue.stand, "echo", concurrency=2)
    await publish(queue.stand, "plain")
    for name in ("echo", "plain"):
        for _ in range(5):
            await submit(queue.stand.one, name)
    claims = await asyncio.gather(*(queue.claim(3) for _ in range(8)))
    names = Counter(row["name"] for rows in claims for row in rows)
    for _ in range(5):
        names += Counter(row["name"] for row in await queue.claim(3))
    assert names == {"echo": 2, "plain": 5}


async def test_who_lost_a_job_cannot_end_it_any_more(queue: Queue, owner: Owner) -> None:
    job = await submit(queue.stand.one, "echo")
    [first] = await queue.claim()
    await queue.ask("lapse_jobs", at=await ahead(owner, seconds=29))
    assert await queue.claim() == []
    await queue.ask("lapse_jobs", at=await ahead(owner, seconds=31))
    [second] = await queue.claim()
    assert (second["id"], second["attempt"]) == (job["job_id"], 2)
    assert await queue.renew(first) == set()
    assert await queue.end(first, "completed", result="the first one's") == []
    assert (await queue.status(job))["result"] is None
    assert await queue.renew(second) == {job["job_id"]}
    assert await queue.end(second, "completed", result="the second one's") == ["completed"]
    assert await queue.end(second, "failed") == []
    assert (await queue.status(job))["result"] == "the second one's"


async def test_a_job_that_is_renewed_is_kept(queue: Queue, owner: Owner) -> None:
    await submit(queue.stand.one, "echo")
    [row] = await queue.claim()
    assert await queue.renew(row, at=await ahead(owner, seconds=20)) == {row["id"]}
    await queue.ask("lapse_jobs", at=await ahead(owner, seconds=40))
    assert (await queue.status(row))["status"] == "running"


async def test_a_job_that_kills_its_workers_is_given_up(queue: Queue, owner: Owner) -> None:
    job = await submit(queue.stand.one, "echo", max_attempts=2)
    for _ in range(2):
        assert len(await queue.claim()) == 1
        await queue.ask("lapse_jobs", at=await ahead(owner, seconds=31))
    assert await queue.claim() == []
    told = await queue.status(job)
    assert (told["status"], told["retry_count"]) == ("failed", 1)
    assert told["error"] == {"code": "FLX504", "message": "the worker that ran it was lost"}
    await queue.stand.one.call("retry_job", job_id=job["job_id"])
    assert len(await queue.claim()) == 1


async def test_what_is_handed_back_is_no_attempt(queue: Queue) -> None:
    job = await submit(queue.stand.one, "echo", max_attempts=1)
    for _ in range(3):
        [row] = await queue.claim()
        assert await queue.end(row, "back") == ["pending"]
    assert (await queue.status(job))["retry_count"] == 0
    [row] = await queue.claim()
    assert await queue.end(row, "retry") == ["failed"]


async def test_what_was_withdrawn_while_it_ran_does_not_wait_for_ever(queue: Queue) -> None:
    one, service = queue.stand.one, queue.stand.service
    for _ in range(3):
        await submit(one, "echo")
    rows = await queue.claim(3)
    await service.call("withdraw_job", name="echo")
    assert await queue.end(rows[0], "back") == ["cancelled"]
    assert await queue.end(rows[1], "retry") == ["failed"]
    assert await queue.end(rows[2], "completed", result=1) == ["completed"]
    assert await queue.claim(3) == []


async def test_a_retry_waits_for_its_pause(queue: Queue, owner: Owner) -> None:
    job = await submit(queue.stand.one, "echo")
    [row] = await queue.claim()
    error = {"code": "FLX504", "message": "away"}
    assert await queue.end(row, "retry", pause=60, error=error) == ["pending"]
    told = await queue.status(job)
    assert (told["status"], told["error"]) == ("pending", error)
    assert await queue.claim(at=await ahead(owner, seconds=59)) == []
    [due] = await queue.ask("next_due", queue="tests", at=None)
    assert 50 < due["seconds"] < 61
    assert len(await queue.claim(at=await ahead(owner, seconds=61))) == 1


async def test_a_cancelled_job_is_not_ended_by_its_worker(queue: Queue) -> None:
    await submit(queue.stand.one, "echo")
    [row] = await queue.claim()
    await queue.stand.one.call("cancel_job", job_id=row["id"])
    assert await queue.end(row, "completed") == []
    assert await queue.renew(row) == set()
    assert (await queue.status(row))["status"] == "cancelled"


async def test_what_ended_long_ago_is_deleted_with_its_lines(queue: Queue, owner: Owner) -> None:
    old, new = [await submit(queue.stand.one, "echo") for _ in range(2)]
    for row in await queue.claim():
        await queue.ask(
            "add_job_logs",
            job=row["id"],
            fence=row["fence"],
            attempt=1,
            lines='[{"at": "2030-01-01T00:00:00Z", "level": "info", "line": "x"}]',
        )
        await queue.end(row, "completed")
    await owner.execute(
        "UPDATE jobs.jobs SET completed_at = now() - interval '2 days' WHERE id = $1::uuid",
        old["job_id"],
    )
    assert len(await queue.ask("prune_jobs", seconds=86_400.0)) == 1
    assert (await refused(queue.stand.one, "get_job_status", job_id=old["job_id"])).code
    assert (await queue.status(new))["status"] == "completed"
    assert await owner.fetchval("SELECT count(*) FROM jobs.logs") == 1


async def test_who_may_read_the_tables_reads_its_own_jobs_only(
    queue: Queue, owner: Owner, backend: Backend
) -> None:
    await submit(queue.stand.one, "echo")
    await submit(queue.stand.two, "echo")
    await owner.execute("GRANT USAGE ON SCHEMA jobs TO authenticated")
    await owner.execute("GRANT SELECT ON jobs.jobs TO authenticated")
    client = await asyncpg.connect(backend.database.logins.client)
    try:
        await client.execute(f"SET ROLE key_{queue.stand.one.id}")
        rows = await client.fetch("SELECT holder FROM jobs.jobs")
    finally:
        await client.close()
        await owner.execute("REVOKE SELECT ON jobs.jobs FROM authenticated")
        await owner.execute("REVOKE USAGE ON SCHEMA jobs FROM authenticated")
    assert [row["holder"] for row in rows] == [queue.stand.one.id]
