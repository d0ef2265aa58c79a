"""Schedules submit their jobs at their times, each time once, whatever clocks and servers do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.jobs.schedules import fire, following
from tests.integration.jobs.conftest import Stand, publish, refused, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

COUNT = "SELECT count(*) FROM jobs.jobs"


@pytest.fixture
async def stand(standing: Callable[..., Any], owner: Owner) -> AsyncGenerator[Stand]:
    """A server that runs no jobs, so that what is submitted stays."""
    async with standing(queues={}) as made:
        await publish(made, "echo")
        yield made


async def schedule(stand: Stand, cron: str = "0 * * * *", **more: Any) -> datetime:
    arguments = {"name": "hourly", "job_name": "echo", "cron": cron, **more}
    made = await stand.service.call("create_schedule", **arguments)
    return datetime.fromisoformat(made["next_at"])


async def many(backend: Backend, at: datetime, servers: int = 3) -> int:
    """Let several servers look at the same moment; return how many jobs they submitted."""
    return sum(await asyncio.gather(*(fire(backend.database, at) for _ in range(servers))))


async def test_a_time_comes_once_for_any_number_of_servers(
    stand: Stand, backend: Backend, owner: Owner
) -> None:
    due = await schedule(stand, payload={"a": 1})
    assert await many(backend, due - timedelta(seconds=1)) == 0
    for hour in range(3):
        at = due + timedelta(hours=hour, seconds=1)
        assert await many(backend, at) == 1
        assert await many(backend, at) == 0
    assert await owner.fetchval(COUNT) == 3
    [told] = (await stand.service.call("list_schedules"))["schedules"]
    assert datetime.fromisoformat(told["next_at"]) == due + timedelta(hours=3)
    assert datetime.fromisoformat(told["last_at"]) == due + timedelta(hours=2)
    assert told["last_status"] == "pending"
    job = await stand.service.call("get_job_status", job_id=told["last_job"])
    assert (job["job_name"], job["priority"]) == ("echo", 0)
    assert (await refused(stand.one, "get_job_status", job_id=told["last_job"])).code == "FLX209"


@pytest.mark.parametrize(("missed", "submitted"), [("once", 1), ("skip", 0)])
async def test_a_clock_that_jumps_ahead_submits_what_the_schedule_says(
    stand: Stand, backend: Backend, missed: str, submitted: int
) -> None:
    due = await schedule(stand, missed=missed)
    year = due + timedelta(days=365, minutes=30)
    assert await many(backend, year) == submitted
    assert await many(backend, year + timedelta(minutes=1)) == 0
    assert await many(backend, year + timedelta(minutes=31)) == 1


async def test_a_clock_that_jumps_back_submits_nothing_twice(
    stand: Stand, backend: Backend
) -> None:
    due = await schedule(stand)
    assert await many(backend, due) == 1
    for back in (timedelta(seconds=1), timedelta(hours=5), timedelta(days=400)):
        assert await many(backend, due - back) == 0
    assert await many(backend, due) == 0
    assert await many(backend, due + timedelta(hours=1)) == 1


async def test_a_schedule_runs_by_itself(standing: Callable[..., Any], owner: Owner) -> None:
    async with standing(poll=60) as stand, standing(poll=60), standing(poll=60):
        await publish(stand, "echo")
        await schedule(stand, payload={"by": "itself"})
        await owner.execute("UPDATE jobs.schedules SET next_at = now() + interval '1 second'")
        await owner.execute("SELECT pg_notify('fluxbase_jobs', '!schedules')")

        async def done() -> Any:
            return (await stand.service.call("list_jobs", status="completed"))["jobs"]

        [job] = await until(done, "the job of a schedule")
        told = await stand.service.call("get_job_status", job_id=job["job_id"])
        assert told["result"]["payload"] == {"by": "itself"}


async def test_a_schedule_is_replaced_and_deleted_by_its_name(stand: Stand) -> None:
    await schedule(stand)
    again = await stand.service.call(
        "create_schedule", name="hourly", job_name="echo", cron="30 6 * * MON-FRI",
        time_zone="Europe/Berlin",
    )  # fmt: skip
    assert again["replaced"] is True
    [told] = (await stand.service.call("list_schedules"))["schedules"]
    assert (told["cron"], told["time_zone"]) == ("30 6 * * MON-FRI", "Europe/Berlin")
    await stand.service.call("delete_schedule", name="hourly")
    assert (await stand.service.call("list_schedules"))["count"] == 0
    assert (await refused(stand.service, "delete_schedule", name="hourly")).code == "FLX209"


async def test_a_withdrawn_job_takes_its_schedules_along(stand: Stand, backend: Backend) -> None:
    due = await schedule(stand)
    await stand.service.call("withdraw_job", name="echo")
    assert await many(backend, due) == 0
    assert (await stand.service.call("list_schedules"))["count"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cron": "99 * * * *"}, "minute"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "0 0 31 2 *"}, "day-of-month"),
        ({"time_zone": "Nowhere/At_All"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"job_name": "nowhere"}, "No such job"),
    ],
)
async def test_what_cannot_be_scheduled_is_told(
    stand: Stand, arguments: dict[str, Any], said: str
) -> None:
    wanted = {"name": "x", "job_name": "echo", "cron": "0 * * * *", **arguments}
    assert said in (await refused(stand.service, "create_schedule", **wanted)).message


def moments(cron: str, zone: str, start: str, many: int) -> list[str]:
    found: list[str] = []
    at = datetime.fromisoformat(start)
    for _ in range(many):
        at = following(cron, zone, at)
        found.append(at.astimezone(UTC).strftime("%m-%dT%H:%M"))
    return found


def test_times_follow_their_time_zone_through_the_year() -> None:
    # On 29 March 2026 clocks in Berlin go from 2:00 to 3:00, on 25 October from 3:00 to 2:00.
    assert moments("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00+00:00", 3) == [
        "03-28T01:30", "03-29T01:00", "03-30T00:30",
    ]  # fmt: skip
    assert moments("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+00:00", 2) == [
        "10-25T00:30", "10-26T01:30",
    ]  # fmt: skip
    assert moments("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00+00:00", 3) == [
        "10-25T00:00", "10-25T01:00", "10-25T02:00",
    ]  # fmt: skip
