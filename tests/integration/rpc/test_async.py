"""Calls in the background: told truly, for their caller alone, and never running for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from tests.conftest import http_to
from tests.integration.rpc.conftest import calling, refused
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

ASYNC: Final[dict[str, Any]] = {"async": True}
SCHEMA: Final = """
CREATE SCHEMA runs;
GRANT USAGE ON SCHEMA runs TO authenticated, service_role;
CREATE TABLE runs.kept (id int GENERATED ALWAYS AS IDENTITY, body text,
  user_id uuid DEFAULT auth.uid());
GRANT SELECT, INSERT ON runs.kept TO authenticated, service_role;
ALTER TABLE runs.kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON runs.kept USING (user_id = auth.uid()) WITH CHECK (user_id = auth.uid());
CREATE FUNCTION runs.keep(body text, seconds float DEFAULT 0) RETURNS SETOF runs.kept
  LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock_shared(7411);
  INSERT INTO runs.kept (body) VALUES (body); SELECT pg_sleep(seconds); TABLE runs.kept $$;
CREATE FUNCTION runs.sleeps(seconds float) RETURNS text LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock_shared(7411); SELECT 'slept' FROM pg_sleep(seconds) $$;
CREATE FUNCTION runs.limit_of_time() RETURNS text LANGUAGE sql AS $$
  SELECT current_setting('statement_timeout') $$;
CREATE FUNCTION runs.fails() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO runs.kept (body) VALUES ('lost'); RAISE 'a secret'; END $$;
CREATE FUNCTION runs.count_up(n int) RETURNS SETOF int LANGUAGE sql
  AS 'SELECT generate_series(1, n)';
"""
PUBLISHED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "keep": ("text, double precision", {}),
    "sleeps": ("double precision", {"read_only": True, "timeout_seconds": 60}),
    "limit_of_time": ("", {"read_only": True, "timeout_seconds": 100}),
    "fails": ("", {}),
    "count_up": ("integer", {"max_rows": 3}),
}


@pytest.fixture(scope="module", autouse=True)
async def runs(owner: Owner, backend: Backend) -> AsyncGenerator[None]:
    await owner.execute(SCHEMA)
    backend.database.catalog.forget()
    yield
    await owner.execute("DROP SCHEMA runs CASCADE; DELETE FROM rpc.procedures")
    await owner.execute("DELETE FROM rpc.executions")


@pytest.fixture
async def published(service: Caller, owner: Owner) -> None:
    await owner.execute("TRUNCATE runs.kept; DELETE FROM rpc.executions")
    for name, (types, rules) in PUBLISHED.items():
        function = f"runs.{name}({types})"
        await service.call("publish_procedure", name=name, function=function, public=True, **rules)


@pytest.fixture
def one(published: None, rpc_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient) -> Caller:
    return calling(rpc_keys, http)["one"]


async def begin(caller: Caller, name: str, **params: Any) -> str:
    begun = await caller.call("invoke_rpc", name=name, params=params, **ASYNC)
    assert (begun["status"], begun["data"], begun["rows_returned"]) == ("running", None, None)
    return begun["execution_id"]


async def ended(caller: Caller, execution: str, tool: str = "get_rpc_execution") -> dict[str, Any]:
    more = {"wait_seconds": 20} if tool == "get_rpc_execution" else {}
    told = await caller.call(tool, execution_id=execution, **more)
    assert told["status"] != "running"
    return told


async def running(owner: Owner) -> int:
    """Return how many calls are in the middle: they hold a lock, which everybody may see."""
    return await owner.fetchval("SELECT count(*) FROM pg_locks WHERE objid = 7411 AND granted")


async def nothing_runs(owner: Owner) -> bool:
    """Return whether no call is."""
    return await running(owner) == 0


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process' doing
            await asyncio.sleep(0.02)


async def test_it_is_answered_at_once_and_its_data_are_kept(one: Caller) -> None:
    execution = await begin(one, "sleeps", seconds=0.5)
    told = await one.call("get_rpc_execution", execution_id=execution)
    assert (told["status"], told["data_kept"], told["error"]) == ("running", False, None)
    told = await ended(one, execution)
    assert (told["status"], told["data"], told["data_kept"]) == ("completed", "slept", True)
    assert told["duration_ms"] >= 500
    assert (await ended(one, execution))["data"] == "slept"
    many = await ended(one, await begin(one, "count_up", n=9))
    assert (many["data"], many["rows_returned"], many["truncated"]) == ([1, 2, 3], 3, True)


async def test_it_has_the_rights_of_its_caller_and_is_recorded(one: Caller, owner: Owner) -> None:
    execution = await begin(one, "keep", body="mine")
    [row] = (await ended(one, execution))["data"]
    assert (row["body"], row["user_id"]) == ("mine", USER1)
    kept = await owner.fetch(
        "SELECT target, outcome FROM platform.audit WHERE principal = $1 AND action = 'invoke_rpc' "
        "ORDER BY id DESC LIMIT 1",
        one.id,
    )
    assert [tuple(row) for row in kept] == [("default.keep", "ok")]


async def test_what_it_gave_is_told_to_its_caller_alone(
    one: Caller, rpc_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient, service: Caller
) -> None:
    execution = await begin(one, "keep", body="mine")
    assert (await ended(one, execution))["data_kept"] is True
    two = calling(rpc_keys, http)["two"]
    for tool in ("get_rpc_execution", "cancel_rpc_execution"):
        assert (await refused(two, tool, execution_id=execution)).code == "FLX207"
    told = await service.call("get_rpc_execution", execution_id=execution)
    assert (told["status"], told["data"], told["data_kept"]) == ("completed", None, False)


async def test_what_is_wrong_is_told_before_it_begins(one: Caller, owner: Owner) -> None:
    error = await refused(one, "invoke_rpc", name="sleeps", params={"hours": 1}, **ASYNC)
    assert (error.code, "there are: seconds" in error.message) == ("FLX101", True)
    assert await owner.fetchval("SELECT count(*) FROM rpc.executions") == 0


async def test_what_fails_says_so_and_changes_nothing(one: Caller, owner: Owner) -> None:
    told = await ended(one, await begin(one, "fails"))
    assert (told["status"], told["data_kept"]) == ("failed", False)
    assert "secret" not in told["error"]
    assert await owner.fetchval("SELECT count(*) FROM runs.kept") == 0
    outcome = await owner.fetchval(
        "SELECT outcome FROM platform.audit WHERE principal = $1 ORDER BY id DESC LIMIT 1", one.id
    )
    assert outcome == "failed"


async def test_its_time_limit_is_the_procedure_s_own(one: Caller, service: Caller) -> None:
    assert (await ended(one, await begin(one, "limit_of_time")))["data"] == "101s"
    await service.call(
        "publish_procedure",
        name="sleeps",
        function="runs.sleeps(double precision)",
        public=True,
        timeout_seconds=0.3,
    )
    told = await ended(one, await begin(one, "sleeps", seconds=60))
    assert (told["status"], "0.3 s" in told["error"]) == ("failed", True)


async def test_it_can_be_cancelled_and_changes_nothing(one: Caller, owner: Owner) -> None:
    execution = await begin(one, "keep", body="lost", seconds=60)
    await until(lambda: running(owner))
    told = await ended(one, execution, "cancel_rpc_execution")
    assert (told["status"], told["error"]) == ("cancelled", "the call was cancelled")
    await until(lambda: nothing_runs(owner))
    assert await owner.fetchval("SELECT count(*) FROM runs.kept") == 0
    again = await one.call("cancel_rpc_execution", execution_id=execution)
    assert again["status"] == "cancelled"


async def test_another_server_tells_of_it_and_can_cancel_it(
    one: Caller, serving: Callable[..., Any], rpc_keys: dict[str, tuple[str, str]]
) -> None:
    async with serving() as other:
        beside = calling(rpc_keys, other)["one"]
        execution = await begin(one, "sleeps", seconds=0.3)
        assert (await ended(beside, execution))["data"] == "slept"
        execution = await begin(one, "sleeps", seconds=60)
        told = await ended(beside, execution, "cancel_rpc_execution")
        assert told["status"] == "cancelled"


async def test_one_whose_server_went_away_is_told_as_failed(one: Caller, owner: Owner) -> None:
    execution = await begin(one, "sleeps", seconds=60)
    await until(lambda: running(owner))
    await owner.execute("UPDATE rpc.runs SET lease_until = now() - interval '1 second'")
    told = await one.call("get_rpc_execution", execution_id=execution)
    assert (told["status"], told["error"]) == ("failed", "the server that ran it went away")
    # A server that was only slow stops what nobody believes in any more.
    await until(lambda: nothing_runs(owner))


@pytest.mark.parametrize("fate", ["went away", "does not know"])
async def test_a_write_that_was_committed_is_told_as_completed_whatever_became_of_its_server(
    one: Caller, owner: Owner, backend: Backend, fate: str
) -> None:
    execution = await begin(one, "keep", body='it\'s "kept"')
    data = (await ended(one, execution))["data"]
    await owner.execute(
        "UPDATE rpc.executions SET status = 'running', rows = NULL, duration_ms = NULL; "
        "UPDATE rpc.runs SET data = NULL, ended_at = NULL, lease_until = now() - interval '1 s'"
    )
    if fate == "does not know":
        failed: dict[str, Any] = {"rows": None, "truncated": None, "data": None}
        await backend.database.admin(
            "finish_execution", id=execution, status="failed", error="who knows", **failed
        )
    told = await one.call("get_rpc_execution", execution_id=execution)
    assert (told["status"], told["data"], told["rows_returned"]) == ("completed", data, 1)
    assert told["error"] is None


async def test_no_more_run_of_a_key_and_of_a_server_than_may(
    one: Caller, serving: Callable[..., Any], rpc_keys: dict[str, tuple[str, str]], owner: Owner
) -> None:
    async with serving(rpc={"max_running": 1, "max_running_per_key": 2}) as http:
        here = calling(rpc_keys, http)
        first = await begin(here["one"], "sleeps", seconds=60)
        call = {"name": "sleeps", "params": {"seconds": 60}, **ASYNC}
        assert (await refused(here["two"], "invoke_rpc", **call)).code == "FLX504"
        second = await begin(one, "sleeps", seconds=60)
        error = await refused(one, "invoke_rpc", **call)
        assert (error.code, "2 calls of this key" in error.message) == ("FLX501", True)
        for execution in (first, second):
            await ended(one, execution, "cancel_rpc_execution")
        await ended(one, await begin(one, "sleeps", seconds=0))
    assert await owner.fetchval("SELECT count(*) FROM rpc.executions") == 3


async def test_half_of_the_connections_are_left_to_those_who_wait(
    serving: Callable[..., Any], rpc_keys: dict[str, tuple[str, str]], published: None
) -> None:
    wide = {"max_running": 100, "max_running_per_key": 100}
    async with serving(rpc=wide, database={"client_pool_size": 4}) as http:
        here = calling(rpc_keys, http)["one"]
        begun = [await begin(here, "sleeps", seconds=60) for _ in range(2)]
        call = {"name": "sleeps", "params": {"seconds": 60}, **ASYNC}
        assert (await refused(here, "invoke_rpc", **call)).code == "FLX504"
        for execution in begun:
            await ended(here, execution, "cancel_rpc_execution")


async def test_a_server_that_heard_nothing_of_a_cancellation_looks_for_it(
    one: Caller, owner: Owner
) -> None:
    execution = await begin(one, "sleeps", seconds=60)
    await owner.execute("UPDATE rpc.runs SET cancel_wanted = true")
    assert (await ended(one, execution))["status"] == "cancelled"


async def test_the_same_user_with_other_claims_is_not_given_it(one: Caller, owner: Owner) -> None:
    execution = await begin(one, "sleeps", seconds=0)
    assert (await ended(one, execution))["data_kept"] is True
    await owner.execute("UPDATE rpc.runs SET reader = reader || ' 0123'")
    assert (await ended(one, execution))["data_kept"] is False


@pytest.mark.parametrize("end", ["revoke", "delete"])
async def test_what_a_key_began_is_ended_when_the_key_is(
    published: None,
    backend: Backend,
    http: httpx2.AsyncClient,
    owner: Owner,
    service: Caller,
    end: str,
) -> None:
    new = NewKey("rpc of one that goes", ("execute:rpc",), user_id=USER1)
    issued = await backend.keys.create("client_key", new)
    goes = Caller("goes", issued.id, issued.key, http)
    execution = await begin(goes, "keep", body="late", seconds=60)
    await until(lambda: running(owner))
    await getattr(backend.keys, end)("client_key", issued.id)
    told = await ended(service, execution)
    kept = await owner.fetchval("SELECT count(*) FROM runs.kept WHERE body = 'late'")
    assert (told["status"], told["error"]) == ("cancelled", "its key is not valid any more")
    assert kept == 0


async def test_a_server_that_stops_waits_for_what_runs_as_long_as_it_has_time(
    one: Caller, backend: Backend, rpc_keys: dict[str, tuple[str, str]]
) -> None:
    other = Server(backend)
    async with other.running(), http_to(other) as http:
        beside = calling(rpc_keys, http)["one"]
        short = await begin(beside, "keep", body="in time", seconds=0.5)
        other.drain()
        error = await refused(beside, "invoke_rpc", name="fails", **ASYNC)
        assert error.code == "FLX504"
    assert (await ended(one, short))["status"] == "completed"


async def test_what_takes_longer_than_that_is_cancelled_and_told_so(
    one: Caller, serving: Callable[..., Any], rpc_keys: dict[str, tuple[str, str]], owner: Owner
) -> None:
    async with serving() as http:
        long = await begin(calling(rpc_keys, http)["one"], "keep", body="lost", seconds=60)
        await until(lambda: running(owner))
    told = await ended(one, long)
    assert (told["status"], told["error"]) == ("cancelled", "the server was stopped")
    assert await owner.fetchval("SELECT count(*) FROM runs.kept") == 0


async def test_a_key_that_may_only_read_runs_what_only_reads(
    published: None, rpc_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient
) -> None:
    reader = calling(rpc_keys, http)["reader"]
    assert (await ended(reader, await begin(reader, "sleeps", seconds=0)))["data"] == "slept"
    error = await refused(reader, "invoke_rpc", name="keep", params={"body": "x"}, **ASYNC)
    assert error.code == "FLX207"
    execution = await begin(reader, "sleeps", seconds=60)
    assert (await ended(reader, execution, "cancel_rpc_execution"))["status"] == "cancelled"


async def test_a_call_that_is_sent_again_with_its_key_is_begun_once(
    one: Caller, owner: Owner
) -> None:
    call = {"name": "keep", "params": {"body": "once"}, "idempotency_key": "a key", **ASYNC}
    first, second = [(await one.call("invoke_rpc", **call))["execution_id"] for _ in range(2)]
    assert first == second
    await ended(one, first)
    assert (await one.call("invoke_rpc", **call))["execution_id"] == first
    assert await owner.fetchval("SELECT count(*) FROM runs.kept") == 1
    other = {**call, "params": {"body": "twice"}}
    assert (await refused(one, "invoke_rpc", **other)).code == "FLX506"


async def test_what_failed_is_begun_again_under_its_key(one: Caller) -> None:
    call = {"name": "fails", "idempotency_key": "again", **ASYNC}
    first = (await one.call("invoke_rpc", **call))["execution_id"]
    await ended(one, first)
    second = (await one.call("invoke_rpc", **call))["execution_id"]
    assert second != first
    assert (await ended(one, second))["status"] == "failed"


async def test_answers_are_forgotten_after_a_day_and_beyond_fifty(
    one: Caller, owner: Owner, backend: Backend
) -> None:
    execution = await begin(one, "sleeps", seconds=0)
    await ended(one, execution)
    await owner.execute("UPDATE rpc.runs SET ended_at = now() - interval '25 hours'")
    told = await ended(one, execution)
    assert (told["status"], told["data_kept"]) == ("completed", False)
    await backend.database.admin("settle_executions")
    assert await owner.fetchval("SELECT count(data) FROM rpc.runs") == 0
    await owner.execute(
        "WITH e AS (INSERT INTO rpc.executions (id, namespace, name, holder, status, started_at, "
        "duration_ms) SELECT gen_random_uuid(), 'default', 'x', $1, 'completed', now(), 1 "
        "FROM generate_series(1, 60) RETURNING id) INSERT INTO rpc.runs (execution, reader, "
        "effect_key, call_mac, lease_until, data, ended_at) "
        "SELECT id, $1, id::text, '', now(), '1', now() - interval '1 hour' FROM e",
        one.id,
    )
    last = await begin(one, "sleeps", seconds=0)
    assert (await ended(one, last))["data_kept"] is True
    assert await owner.fetchval("SELECT count(data) FROM rpc.runs") == 50
