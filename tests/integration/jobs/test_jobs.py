"""Jobs are done with the rights of who submitted them, and are nobody else's business."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from tests.integration.jobs.conftest import (
    Stand,
    ended,
    publish,
    refused,
    running,
    submit,
    until,
)
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]


async def test_a_job_is_done_and_its_result_told(jobs: Stand) -> None:
    payload = {"n": 12345678901234567890123, "text": "☃", "list": [1.5, None]}
    job = await submit(jobs.one, "echo", payload)
    assert (job["job_name"], job["namespace"], job["priority"]) == ("echo", "default", 0)
    told = await ended(jobs.one, job)
    assert (told["status"], told["progress"], told["retry_count"]) == ("completed", 100, 0)
    assert told["result"]["payload"]["text"] == "☃"
    assert told["result"]["attempt"] == 1
    assert told["error"] is None


async def test_submitting_can_wait_for_the_end(jobs: Stand) -> None:
    told = await submit(jobs.one, "steps", {}, wait_seconds=10)
    assert (told["status"], told["result"], told["message"]) == ("completed", "done", "at 90")
    short = await submit(jobs.one, "slow", {}, wait_seconds=0.2)
    assert short["status"] in ("pending", "running")
    await jobs.one.call("cancel_job", job_id=short["job_id"])


async def test_what_a_handler_tells_can_be_read(jobs: Stand) -> None:
    job = await submit(jobs.one, "steps", {"pause": 0.3})
    seen: set[Any] = set()

    async def half() -> bool:
        told = await jobs.one.call("get_job_status", job_id=job["job_id"])
        seen.add(told["progress"])
        return told["completed_at"] is not None

    await until(half, "the end of a job")
    assert {60, 100} <= seen
    told = await ended(jobs.one, job, log_lines=2)
    assert [line["line"] for line in told["logs"]] == ["line 60", "line 90"]
    thread = await ended(jobs.one, await submit(jobs.one, "plain"), log_lines=10)
    assert thread["result"] == {"id": thread["job_id"]}
    assert [(x["level"], x["line"]) for x in thread["logs"]] == [("warning", "from a thread")]


async def test_a_job_has_the_rights_of_its_caller(jobs: Stand, owner: Owner) -> None:
    for caller, title in ((jobs.one, "by one"), (jobs.two, "by two")):
        told = await ended(caller, await submit(caller, "note", {"title": title}))
        assert told["status"] == "completed", told
    found = await owner.fetch("SELECT title, user_id::text FROM notes WHERE title LIKE 'by %'")
    assert {row[0]: row[1] for row in found} == {"by one": USER1, "by two": USER1[:-1] + "2"}
    kept = await owner.fetch(
        "SELECT action, outcome FROM platform.audit WHERE request_id = $1", f"job-{told['job_id']}"
    )
    assert ("insert_record", "ok") in [tuple(row) for row in kept]


async def test_nobody_is_told_of_jobs_of_others(jobs: Stand) -> None:
    job = await submit(jobs.one, "echo", {"secret": 1})
    await ended(jobs.one, job)
    unknown = await refused(jobs.two, "get_job_status", job_id="0" * 8 + job["job_id"][8:])
    for tool in ("get_job_status", "cancel_job", "retry_job"):
        error = await refused(jobs.two, tool, job_id=job["job_id"])
        assert (error.code, error.message) == ("FLX209", unknown.message)
        assert (await refused(jobs.one, tool, job_id="x")).code == "FLX209"
    assert (await jobs.two.call("list_jobs"))["jobs"] == []
    mine = (await jobs.one.call("list_jobs"))["jobs"]
    assert [j["job_id"] for j in mine] == [job["job_id"]]
    assert (await jobs.service.call("get_job_status", job_id=job["job_id"]))["result"]
    uri = f"fluxbase://jobs/{job['job_id']}"
    assert "secret" in str(await jobs.one.rpc("resources/read", uri=uri))
    nowhere = await jobs.two.rpc("resources/read", uri="fluxbase://nowhere")
    other = await jobs.two.rpc("resources/read", uri=uri)
    assert (other["error"]["code"], other["error"]["message"]) == (
        nowhere["error"]["code"],
        nowhere["error"]["message"],
    )


async def test_only_those_for_whom_it_is_published_know_of_it(jobs: Stand) -> None:
    job = await submit(jobs.one, "echo")
    await ended(jobs.one, job)
    for rule in (
        {"public": False, "required_roles": ["anon"]},
        {"required_scopes": ["read:storage"]},
        {"public": False, "required_roles": ["authenticated"], "required_scopes": ["admin:ddl"]},
    ):
        await publish(jobs, "echo", **rule)
        names = {t["job_name"] for t in (await jobs.one.call("list_job_types"))["job_types"]}
        assert "echo" not in names
        assert (await refused(jobs.one, "submit_job", job_name="echo")).code == "FLX209"
        error = await refused(jobs.one, "get_job_status", job_id=job["job_id"])
        assert error.code == "FLX209"
        assert (await jobs.one.call("list_jobs"))["jobs"] == []
    await publish(jobs, "echo", public=False, required_roles=["authenticated"])
    assert (await jobs.one.call("list_jobs"))["count"] == 1
    await publish(jobs, "echo", namespace="other")
    await ended(jobs.one, await submit(jobs.one, "echo", namespace="other"))
    other = await jobs.one.call("list_jobs", namespace="other")
    assert [j["namespace"] for j in other["jobs"]] == ["other"]
    error = await refused(jobs.one, "submit_job", job_name="echo", namespace="third")
    assert error.code == "FLX209"


async def test_jobs_are_listed_by_pages(jobs: Stand) -> None:
    made = [(await submit(jobs.one, "echo"))["job_id"] for _ in range(5)]
    seen: list[str] = []
    after: str | None = None
    while True:
        more = {"after": after} if after else {}
        page = await jobs.one.call("list_jobs", limit=2, job_name="echo", **more)
        seen += [job["job_id"] for job in page["jobs"]]
        after = page["next_after"]
        if after is None:
            break
    assert seen == made[::-1]
    assert (await jobs.one.call("list_jobs", status="failed"))["jobs"] == []
    assert (await refused(jobs.one, "list_jobs", after="x")).code == "FLX101"


async def test_the_same_submit_again_gives_the_same_job(jobs: Stand) -> None:
    first = await submit(jobs.one, "echo", {"a": 1, "b": 2}, idempotency_key="k")
    again = await submit(jobs.one, "echo", {"b": 2, "a": 1}, idempotency_key="k")
    assert (again["job_id"], again["deduplicated"]) == (first["job_id"], True)
    error = await refused(
        jobs.one, "submit_job", job_name="echo", payload={"a": 2}, idempotency_key="k"
    )
    assert error.code == "FLX506"
    other = await submit(jobs.two, "echo", {"a": 1, "b": 2}, idempotency_key="k")
    assert other["job_id"] != first["job_id"]


async def test_a_double_of_a_job_that_waits_or_runs_is_not_made(jobs: Stand) -> None:
    first = await submit(jobs.one, "slow", {}, dedupe_key="report")
    await running(jobs.one, first)
    twin = await submit(jobs.one, "slow", {"other": 1}, dedupe_key="report")
    assert (twin["job_id"], twin["deduplicated"]) == (first["job_id"], True)
    assert (await submit(jobs.two, "slow", {}, dedupe_key="report"))["deduplicated"] is False
    assert (await submit(jobs.one, "echo", {}, dedupe_key="report"))["deduplicated"] is False
    await jobs.one.call("cancel_job", job_id=first["job_id"])
    after = await submit(jobs.one, "slow", {}, dedupe_key="report")
    assert after["deduplicated"] is False
    error = await refused(jobs.one, "retry_job", job_id=first["job_id"])
    assert (error.code, "dedupe_key" in error.message) == ("FLX506", True)


@pytest.mark.parametrize(
    ("kind", "code", "said", "retries"),
    [
        ("forbidden", "FLX302", "never", 0),
        ("own", "FLX801", "the words of the handler", 2),
        ("other", "FLX801", "raised ValueError", 2),
        ("json", "FLX801", "not JSON", 2),
        ("large", "FLX502", "more bytes", 0),
    ],
)
async def test_what_fails_is_tried_again_where_that_may_help(
    jobs: Stand, kind: str, code: str, said: str, retries: int
) -> None:
    told = await ended(jobs.one, await submit(jobs.one, "fails", {"kind": kind}))
    assert (told["status"], told["retry_count"], told["result"]) == ("failed", retries, None)
    assert told["error"]["code"] == code
    assert said in told["error"]["message"]
    assert "secret" not in str(told)


async def test_effects_happen_once_however_often_the_job_runs(jobs: Stand, owner: Owner) -> None:
    payload = {"title": "written once", "succeeds": 3}
    told = await ended(jobs.one, await submit(jobs.one, "note", payload))
    assert (told["status"], told["retry_count"]) == ("completed", 2)
    assert await owner.fetchval("SELECT count(*) FROM notes WHERE title = 'written once'") == 1
    twice = [await submit(jobs.one, "note", {"title": f"again {n}"}) for n in (1, 2)]
    for job in twice:
        await ended(jobs.one, job)
    assert await owner.fetchval("SELECT count(*) FROM notes WHERE title LIKE 'again %'") == 2


async def test_a_job_that_failed_or_was_cancelled_can_run_again(jobs: Stand) -> None:
    job = await submit(jobs.one, "fails", {"kind": "own"}, max_attempts=1)
    told = await ended(jobs.one, job)
    assert (told["status"], told["max_attempts"]) == ("failed", 1)
    await jobs.one.call("retry_job", job_id=job["job_id"])

    async def ran_again() -> Any:
        again = await ended(jobs.one, job)
        return again["status"] == "failed" and again["completed_at"] != told["completed_at"]

    await until(ran_again, "the job runs again")
    slow = await submit(jobs.one, "slow")
    for _ in range(2):
        await jobs.one.call("cancel_job", job_id=slow["job_id"])
        again = await jobs.one.call("retry_job", job_id=slow["job_id"])
        assert again["status"] in ("pending", "running")
        assert (again["error_code"], again["completed_at"]) == (None, None)
    await jobs.one.call("cancel_job", job_id=slow["job_id"])
    done = await ended(jobs.one, await submit(jobs.one, "echo"))
    assert (await refused(jobs.one, "retry_job", job_id=done["job_id"])).code == "FLX506"
    assert (await refused(jobs.one, "cancel_job", job_id=done["job_id"])).code == "FLX506"


async def test_a_job_that_runs_stops_when_it_is_cancelled(standing: Callable[..., Any]) -> None:
    # So long a lease that only the announcement can stop it in time.
    async with standing(lease=3600) as stand:
        await publish(stand, "slow")
        job = await submit(stand.one, "slow")
        await running(stand.one, job)
        assert (await stand.one.call("cancel_job", job_id=job["job_id"]))["status"] == "cancelled"

        async def stopped() -> Any:
            told = await stand.one.call("get_job_status", job_id=job["job_id"], log_lines=5)
            return [line["line"] for line in told["logs"]] == ["stopped"]

        await until(stopped, "the end of the handler")
        assert (await ended(stand.one, job))["status"] == "cancelled"


async def test_a_job_has_a_time_limit_for_each_attempt(jobs: Stand) -> None:
    await publish(jobs, "slow", timeout_seconds=0.1, max_attempts=2)
    told = await ended(jobs.one, await submit(jobs.one, "slow"))
    assert (told["error"]["code"], told["retry_count"]) == ("FLX503", 1)
    assert "0.1 s" in told["error"]["message"]


async def test_a_job_waits_for_its_time(jobs: Stand) -> None:
    late = await submit(jobs.one, "echo", scheduled_at="2999-01-01T00:00:00+01:00")
    assert (late["status"], late["scheduled_at"]) == ("pending", "2998-12-31 23:00:00+00")
    now = await submit(jobs.one, "echo")
    await ended(jobs.one, now)
    assert (await jobs.one.call("get_job_status", job_id=late["job_id"]))["status"] == "pending"
    for wrong in ("tomorrow", "2030-01-01", "2030-01-01T00:00:00"):
        error = await refused(jobs.one, "submit_job", job_name="echo", scheduled_at=wrong)
        assert error.code == "FLX101"


async def test_jobs_of_a_key_that_is_no_longer_valid_do_not_run(
    jobs: Stand, backend: Backend, owner: Owner
) -> None:
    issued = await backend.keys.create(
        "client_key", NewKey("leaves", ("execute:jobs",), user_id=USER1)
    )
    leaver = Caller("leaver", issued.id, issued.key, jobs.http)
    job = await submit(leaver, "echo", scheduled_at="2999-01-01T00:00:00Z")
    await backend.keys.revoke("client_key", issued.id)
    await owner.execute("UPDATE jobs.jobs SET scheduled_at = now()")
    told = await ended(jobs.service, job)
    assert (told["status"], told["error"]["code"]) == ("failed", "FLX301")
    assert (told["retry_count"], told["result"]) == (0, None)


async def test_a_job_has_the_scopes_that_its_key_has_by_now(
    jobs: Stand, backend: Backend, owner: Owner
) -> None:
    scopes = ("execute:jobs", "write:tables")
    issued = await backend.keys.create("client_key", NewKey("shrinks", scopes, user_id=USER1))
    caller = Caller("shrinks", issued.id, issued.key, jobs.http)
    job = await submit(caller, "note", {"title": "t"}, scheduled_at="2999-01-01T00:00:00Z")
    await owner.execute(
        "UPDATE auth.api_keys SET scopes = '{execute:jobs}' WHERE id = $1", issued.id
    )
    await owner.execute("SELECT pg_notify('fluxbase_keys', $1)", issued.id)
    await owner.execute("UPDATE jobs.jobs SET scheduled_at = now()")
    told = await ended(jobs.service, job)
    assert (told["status"], told["error"]["code"]) == ("failed", "FLX401")
    await backend.keys.delete("client_key", issued.id)


async def test_a_withdrawn_job_is_not_run(jobs: Stand) -> None:
    waits = await submit(jobs.one, "echo", scheduled_at="2999-01-01T00:00:00Z")
    gone = await jobs.service.call("withdraw_job", name="echo")
    assert (gone["withdrawn"], gone["cancelled"]) == (True, 1)
    told = await jobs.one.call("get_job_status", job_id=waits["job_id"])
    assert (told["status"], told["error"]["code"]) == ("cancelled", "FLX209")
    assert (await refused(jobs.one, "submit_job", job_name="echo")).code == "FLX209"
    assert (await refused(jobs.one, "retry_job", job_id=waits["job_id"])).code == "FLX209"
    assert (await refused(jobs.service, "withdraw_job", name="echo")).code == "FLX209"
    await publish(jobs, "echo")
    await jobs.one.call("retry_job", job_id=waits["job_id"])
    assert (await ended(jobs.one, waits))["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"handler": "python:nowhere"}, "FLX101"),
        ({"handler": "nothing:x"}, "FLX101"),
        ({"handler": "rpc:default.nowhere"}, "FLX207"),
        ({"handler": "echo"}, "FLX101"),
        ({"public": False}, "FLX101"),
        ({"required_scopes": ["nothing:here"]}, "FLX101"),
        ({"queue": "Not A Queue"}, "FLX101"),
        ({"name": "a b"}, "FLX101"),
        ({"priority": 101}, "FLX101"),
    ],
)
async def test_what_cannot_be_published_is_told(
    jobs: Stand, arguments: dict[str, Any], code: str
) -> None:
    wanted = {"name": "x", "handler": "python:echo", "public": True, **arguments}
    assert (await refused(jobs.service, "publish_job", **wanted)).code == code


async def test_what_is_too_much_is_refused(standing: Callable[..., Any]) -> None:
    async with standing(max_payload=100, max_pending_per_key=2, queues={}) as stand:
        await publish(stand, "echo")
        error = await refused(stand.one, "submit_job", job_name="echo", payload={"x": "x" * 200})
        assert error.code == "FLX502"
        for _ in range(2):
            await submit(stand.one, "echo")
        assert (await refused(stand.one, "submit_job", job_name="echo")).code == "FLX501"
        await submit(stand.two, "echo")
