"""Answers that are kept are each for one caller alone, and writes with a key are done once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.keys import NewKey
from tests.integration.rpc.conftest import calling, refused
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

SCHEMA: Final = """
CREATE SCHEMA memo;
GRANT USAGE ON SCHEMA memo TO authenticated, service_role;
CREATE TABLE memo.kept (id int GENERATED ALWAYS AS IDENTITY, body text,
  user_id uuid DEFAULT auth.uid());
GRANT SELECT, INSERT ON memo.kept TO authenticated, service_role;
ALTER TABLE memo.kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON memo.kept USING (user_id = auth.uid()) WITH CHECK (user_id = auth.uid());
CREATE SEQUENCE memo.times;
GRANT ALL ON SEQUENCE memo.times TO authenticated, service_role;
CREATE FUNCTION memo.mine(n int DEFAULT 1) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('who', auth.uid(), 'n', n, 'at', clock_timestamp(), 'kept',
    (SELECT count(*) FROM memo.kept)) $$;
CREATE FUNCTION memo.keep(body text, big numeric DEFAULT 0)
  RETURNS TABLE (text text, number numeric) LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO memo.kept (body) VALUES (body);
  IF body = 'fails' THEN RAISE 'no'; END IF;
  RETURN QUERY SELECT body, big; END $$;
"""


@pytest.fixture(scope="module", autouse=True)
async def memo(owner: Owner, backend: Backend) -> AsyncGenerator[None]:
    await owner.execute(SCHEMA)
    backend.database.catalog.forget()
    yield
    await owner.execute("DROP SCHEMA memo CASCADE; DELETE FROM rpc.procedures")
    await owner.execute("DELETE FROM rpc.executions")


async def publish(service: Caller, **rules: Any) -> None:
    rules = {"cache_seconds": 600, "read_only": True, "public": True, **rules}
    await service.call("publish_procedure", name="mine", function="memo.mine(integer)", **rules)


@pytest.fixture
async def by_name(
    service: Caller, owner: Owner, rpc_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient
) -> dict[str, Caller]:
    await owner.execute("TRUNCATE memo.kept; DELETE FROM rpc.procedures")
    await publish(service)
    keep = {"name": "keep", "function": "memo.keep(text, numeric)", "public": True}
    await service.call("publish_procedure", **keep)
    return calling(rpc_keys, http)


@pytest.fixture
def one(by_name: dict[str, Caller]) -> Caller:
    return by_name["one"]


async def mine(caller: Caller, **params: Any) -> dict[str, Any]:
    return await caller.call("invoke_rpc", name="mine", params=params)


async def test_the_same_call_gets_the_same_answer_for_a_while(one: Caller) -> None:
    first = await mine(one)
    assert first["cached"] is False
    again = await mine(one)
    assert (again["cached"], again["data"]) == (True, first["data"])
    assert again["execution_id"] == first["execution_id"]
    other = await mine(one, n=2)
    assert (other["cached"], other["data"]["n"]) == (False, 2)
    explicit = await mine(one, n=1)
    assert explicit["cached"] is False
    listed = (await one.call("list_rpc"))["procedures"]
    assert {p["name"]: p["cache_seconds"] for p in listed} == {"mine": 600, "keep": 0}


async def test_a_call_in_the_background_is_made_though_an_answer_is_kept(one: Caller) -> None:
    first = await mine(one)
    begun = await one.call("invoke_rpc", name="mine", params={}, **{"async": True})
    asked = {"execution_id": begun["execution_id"], "wait_seconds": 10}
    told = await one.call("get_rpc_execution", **asked)
    assert told["status"] == "completed"
    assert told["data"] != first["data"]


async def test_no_two_callers_share_an_answer(
    by_name: dict[str, Caller],
    service: Caller,
    backend: Backend,
    http: httpx2.AsyncClient,
) -> None:
    first = await mine(by_name["one"])
    assert first["data"]["who"] == USER1
    two = await mine(by_name["two"])
    assert (two["cached"], two["data"]["who"]) == (False, USER2)
    # Another key of the same user is another caller: its lists and limits may differ.
    assert (await mine(by_name["reader"]))["cached"] is False
    few = NewKey("memo of few rows", ("execute:rpc",), user_id=USER1, max_rows=1)
    issued = await backend.keys.create("client_key", few)
    assert (await mine(Caller("few", issued.id, issued.key, http)))["cached"] is False
    as_service = await mine(service)
    assert (as_service["cached"], as_service["data"]["who"]) == (False, None)
    assert (await mine(by_name["one"]))["data"] == first["data"]


async def test_who_may_not_call_it_any_more_gets_nothing_that_was_kept(
    one: Caller, service: Caller
) -> None:
    await mine(one)
    await publish(service, public=False, required_roles=["anon"])
    assert (await refused(one, "invoke_rpc", name="mine")).code == "FLX207"
    await service.call("withdraw_procedure", name="mine")
    assert (await refused(one, "invoke_rpc", name="mine")).code == "FLX207"


async def test_what_is_published_or_made_anew_is_called_anew(
    one: Caller, service: Caller, owner: Owner
) -> None:
    await mine(one)
    await publish(service)
    assert (await mine(one))["cached"] is False
    assert (await mine(one))["cached"] is True
    await service.call("withdraw_procedure", name="mine")
    await publish(service)
    assert (await mine(one))["cached"] is False
    body = "SELECT jsonb_build_object('new', n)"
    made = await owner.fetchval("SELECT pg_get_functiondef('memo.mine(int)'::regprocedure)")
    await owner.execute(
        f"CREATE OR REPLACE FUNCTION memo.mine(n int DEFAULT 1) RETURNS jsonb LANGUAGE sql "
        f"AS $$ {body} $$"
    )
    assert (await mine(one))["data"] == {"new": 1}
    await owner.execute(made)


async def test_a_change_of_rights_or_policies_forgets_all(
    one: Caller, owner: Owner, backend: Backend
) -> None:
    await mine(one)
    assert (await mine(one))["cached"] is True
    version = backend.database.catalog.version
    await owner.execute("ALTER POLICY own ON memo.kept USING (false)")
    async with asyncio.timeout(20):
        while backend.database.catalog.version == version:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    assert (await mine(one))["cached"] is False
    await owner.execute("ALTER POLICY own ON memo.kept USING (user_id = auth.uid())")


async def test_nothing_is_kept_beyond_its_time_or_where_none_is_to_be_kept(
    one: Caller,
    service: Caller,
    serving: Callable[..., Any],
    rpc_keys: dict[str, tuple[str, str]],
) -> None:
    async with serving(rpc={"cache_bytes": 0}) as http:
        here = calling(rpc_keys, http)["one"]
        assert [(await mine(here))["cached"] for _ in range(2)] == [False, False]
    await publish(service, cache_seconds=0)
    assert [(await mine(one))["cached"] for _ in range(2)] == [False, False]


async def test_only_what_changes_nothing_may_be_kept(service: Caller) -> None:
    error = await refused(
        service,
        "publish_procedure",
        name="keep",
        function="memo.keep(text, numeric)",
        public=True,
        cache_seconds=5,
    )
    assert (error.code, "read_only" in error.message) == ("FLX101", True)


async def kept(owner: Owner) -> int:
    return await owner.fetchval("SELECT count(*) FROM memo.kept")


async def test_a_write_with_a_key_is_done_once(one: Caller, owner: Owner) -> None:
    big = 12345678901234567890123456789
    params: dict[str, Any] = {"body": 'a "ü"\\', "big": big}
    call: dict[str, Any] = {"name": "keep", "params": params, "idempotency_key": "once"}
    first = await one.call("invoke_rpc", **call)
    again = await one.call("invoke_rpc", **call)
    assert (again["data"], again["execution_id"]) == (first["data"], first["execution_id"])
    assert again["data"] == [{"text": 'a "ü"\\', "number": big}]
    turned = {**call, "params": dict(reversed(params.items()))}
    assert (await one.call("invoke_rpc", **turned))["execution_id"] == first["execution_id"]
    assert await kept(owner) == 1
    told = await one.call("get_rpc_execution", execution_id=first["execution_id"])
    assert (told["status"], told["rows_returned"]) == ("completed", 1)


async def test_a_key_that_was_used_for_another_call_is_refused(
    one: Caller, by_name: dict[str, Caller], owner: Owner
) -> None:
    call = {"name": "keep", "params": {"body": "x"}, "idempotency_key": "used"}
    await one.call("invoke_rpc", **call)
    for other in ({"params": {"body": "y"}}, {"async": False}):
        assert (await refused(one, "invoke_rpc", **{**call, **other})).code == "FLX506"
    assert (await by_name["two"].call("invoke_rpc", **call))["data"][0]["text"] == "x"
    assert await kept(owner) == 2


async def test_a_write_that_failed_is_done_when_it_is_sent_again(one: Caller, owner: Owner) -> None:
    call = {"name": "keep", "params": {"body": "fails"}, "idempotency_key": "failed"}
    for _ in range(2):
        assert (await refused(one, "invoke_rpc", **call)).code == "FLX601"
    assert await kept(owner) == 0


async def test_a_key_means_nothing_to_what_only_reads(one: Caller) -> None:
    call = {"name": "mine", "idempotency_key": "reads"}
    assert (await one.call("invoke_rpc", **call))["status"] == "completed"
    assert (await one.call("invoke_rpc", **{**call, "params": {"n": 4}}))["data"]["n"] == 4
