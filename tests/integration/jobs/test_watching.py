"""Clients hear how their jobs go, and servers hand back what they cannot finish."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fluxbase.app.rooms import toolbox
from fluxbase.principal import Principal
from tests.conftest import config_for
from tests.integration.jobs.conftest import (
    HANDLERS,
    Stand,
    ended,
    publish,
    running,
    submit,
    until,
)
from tests.integration.mcp.live import Client, listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import asyncpg

    Owner = asyncpg.Connection[asyncpg.Record]


def principal(id_: str, *, service: bool = False) -> Principal:
    kind = "service_key" if service else "client_key"
    return Principal(kind, id_, id_, "anon", "{}", frozenset({"execute:jobs"}))


async def test_only_its_holder_and_administrators_hear_of_a_job(jobs: Stand) -> None:
    hub = jobs.server.lines.hub
    streams = {
        name: hub.open(principal(id_, service=name == "service"))
        for name, id_ in (("one", jobs.one.id), ("two", jobs.two.id), ("service", "s"))
    }
    job = await submit(jobs.one, "echo")
    await ended(jobs.one, job)
    uri = f"fluxbase://jobs/{job['job_id']}"
    for name in ("one", "service"):
        heard: set[str] = set()
        async with asyncio.timeout(10):
            while uri not in heard:
                heard |= (await streams[name].happened())[1]
    streams["two"].tell("beat")
    _, told = await streams["two"].happened()
    assert told == set()
    for stream in streams.values():
        hub.close(stream)


async def test_who_waits_for_a_job_hears_of_its_end_at_once(jobs: Stand) -> None:
    job = await submit(jobs.one, "slow", {"seconds": 0.5})
    await running(jobs.one, job)
    told = await jobs.one.call("get_job_status", job_id=job["job_id"], wait_seconds=60)
    assert (told["status"], told["result"]) == ("completed", "slept")


async def test_waiting_ends_before_the_request_does(standing: Callable[..., Any]) -> None:
    async with standing(server={"request_timeout": 1.5}) as stand:
        await publish(stand, "slow")
        job = await submit(stand.one, "slow", {}, wait_seconds=300)
        assert job["status"] in ("pending", "running")
        await stand.one.call("cancel_job", job_id=job["job_id"])


async def test_a_server_that_stops_finishes_what_it_can_and_hands_back_the_rest(
    standing: Callable[..., Any],
) -> None:
    async with standing(queues={}) as stand:
        async with standing(server={"drain_timeout": 1.0}) as stopping:
            await publish(stopping, "slow")
            quick = await submit(stand.one, "slow", {"seconds": 0.3})
            long = await submit(stand.one, "slow", {"seconds": 60})
            for job in (quick, long):
                await running(stand.one, job)
            stopping.server.drain()
            late = await submit(stand.one, "slow", {"seconds": 0})
        by_id = {j["job_id"]: j for j in (await stand.one.call("list_jobs"))["jobs"]}
        assert by_id[quick["job_id"]]["status"] == "completed"
        assert (by_id[long["job_id"]]["status"], by_id[long["job_id"]]["retry_count"]) == (
            "pending",
            0,
        )
        assert by_id[late["job_id"]]["status"] == "pending"


async def test_a_configuration_that_is_read_again_is_worked_by(home: Path, jobs: Stand) -> None:
    job = await submit(jobs.one, "slow", {"seconds": 0.5})
    await running(jobs.one, job)
    usual: dict[str, Any] = {"handlers": HANDLERS, "poll": 0.2, "queues": {"other": 1}}
    jobs.server.prepare(config_for(home, jobs=usual))()
    await publish(jobs, "echo", queue="other")
    told = await ended(jobs.one, await submit(jobs.one, "echo"))
    assert (told["status"], told["queue"]) == ("completed", "other")
    assert (await ended(jobs.one, job))["status"] == "completed"


async def test_jobs_that_are_not_enabled_do_not_exist(home: Path) -> None:
    assert "submit_job" in toolbox(config_for(home)).tools
    closed = toolbox(config_for(home, jobs={"enabled": False}))
    assert not [name for name in closed.tools if "job" in name or "schedule" in name]
    assert "fluxbase://jobs/{job_id}" not in closed.resources


async def test_what_happens_to_jobs_is_counted(jobs: Stand, standing: Callable[..., Any]) -> None:
    await ended(jobs.one, await submit(jobs.one, "echo"))
    await ended(jobs.one, await submit(jobs.one, "fails", {"kind": "forbidden"}))

    async def counted() -> bool:
        text = jobs.server.observer.text().decode()
        return all(
            f'fluxbase_jobs_total{{outcome="{outcome}",queue="tests"}} 1.0' in text
            for outcome in ("completed", "failed")
        )

    await until(counted, "the ends of two jobs in the numbers")

    await submit(jobs.one, "slow")
    async with standing(queues={}) as other:

        async def known() -> bool:
            text = other.server.observer.text().decode()
            return all(
                f'fluxbase_jobs_{name}{{name="tests"}} 1.0' in text for name in ("dead", "running")
            )

        await until(known, "the numbers of jobs")


async def test_who_subscribed_to_a_job_is_told_that_it_changed(jobs: Stand) -> None:
    async with listening(jobs.server) as http:
        one, two = (Client(http, caller.key) for caller in (jobs.one, jobs.two))
        for client in (one, two):
            await client.initialize()
        job = await submit(jobs.one, "echo", {}, scheduled_at="2999-01-01T00:00:00Z")
        uri = f"fluxbase://jobs/{job['job_id']}"
        for client in (one, two):
            assert (await client.post("resources/subscribe", uri=uri)).json()["result"] == {}
        async with one.listen() as told, two.listen() as stream:
            await told.event()
            await stream.event()
            await jobs.one.call("cancel_job", job_id=job["job_id"])
            message = await told.message()
            assert message["method"] == "notifications/resources/updated"
            assert message["params"] == {"uri": uri}
            jobs.server.lines.hub.resource_changed(uri, jobs.two.id)  # the first word to the other
            assert (await stream.message())["params"] == {"uri": uri}
            jobs.server.lines.hub.end_all()
            assert await stream.rest() == []
