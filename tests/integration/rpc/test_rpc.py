"""Published functions run with the rights of whoever calls them, and for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.keys import NewKey
from tests.integration.rpc.conftest import refused
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

SCHEMA: Final = """
CREATE SCHEMA calls;
GRANT USAGE ON SCHEMA calls TO authenticated, service_role;
CREATE TYPE calls.place AS (street text, number int);
CREATE TYPE calls.mood AS ENUM ('calm', 'glad');
CREATE TABLE calls.kept (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id uuid DEFAULT auth.uid(), body text);
ALTER TABLE calls.kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON calls.kept USING (user_id = auth.uid()) WITH CHECK (user_id = auth.uid());
GRANT SELECT, INSERT ON calls.kept TO authenticated, service_role;
CREATE FUNCTION calls.add(a int, b int DEFAULT 10) RETURNS int LANGUAGE sql AS 'SELECT a + b';
COMMENT ON FUNCTION calls.add IS 'Adds two numbers.';
CREATE FUNCTION calls.nameless(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 - $2';
CREATE FUNCTION calls.sum_up(first int, VARIADIC more int[]) RETURNS bigint LANGUAGE sql
  AS 'SELECT first + coalesce((SELECT sum(x) FROM unnest(more) x), 0)';
CREATE FUNCTION calls.kinds(big numeric, matrix int[], here calls.place, doc jsonb, mood calls.mood)
  RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('big', big, 'matrix', matrix,
  'street', here.street, 'doc', doc, 'mood', mood) $$;
CREATE FUNCTION calls.both(a int, OUT doubled int, OUT word text) LANGUAGE sql
  AS $$ SELECT a * 2, 'n' || a $$;
CREATE FUNCTION calls.many(n int) RETURNS TABLE (id int, word text) LANGUAGE sql
  AS $$ SELECT g, 'w' || g FROM generate_series(1, n) g $$;
CREATE FUNCTION calls.numbers(n int) RETURNS SETOF int LANGUAGE sql
  AS 'SELECT generate_series(1, n)';
CREATE FUNCTION calls.nothing() RETURNS void LANGUAGE sql AS 'SELECT NULL';
CREATE FUNCTION calls.none() RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
CREATE FUNCTION calls.keep(body text) RETURNS SETOF calls.kept LANGUAGE sql
  AS 'INSERT INTO calls.kept (body) VALUES (body) RETURNING *';
CREATE FUNCTION calls.mine() RETURNS SETOF calls.kept LANGUAGE sql AS 'TABLE calls.kept';
CREATE FUNCTION calls.me() RETURNS text LANGUAGE sql AS 'SELECT auth.uid()::text';
CREATE FUNCTION calls.fails(body text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO calls.kept (body) VALUES (body); RAISE 'secret %', body; END $$;
CREATE FUNCTION calls.slow() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(60)';
CREATE FUNCTION calls.leave(word text) RETURNS text LANGUAGE sql
  AS $$ SELECT set_config('app.left', word, false) $$;
CREATE FUNCTION calls.left_over() RETURNS text LANGUAGE sql
  AS $$ SELECT nullif(current_setting('app.left', true), '') $$;
CREATE FUNCTION calls.any_of(a anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT a';
CREATE PROCEDURE calls.proc() LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION calls.trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
"""
FUNCTIONS: Final = {
    "add": "integer, integer", "nameless": "integer, integer", "sum_up": "integer, integer[]",
    "kinds": "numeric, integer[], calls.place, jsonb, calls.mood", "both": "integer",
    "many": "integer", "numbers": "integer", "nothing": "", "none": "", "keep": "text",
    "mine": "", "me": "", "fails": "text", "slow": "", "leave": "text", "left_over": "",
}  # fmt: skip
READING: Final = {"add", "mine", "many", "leave", "left_over"}


@pytest.fixture(scope="module", autouse=True)
async def calls(owner: Owner, backend: Backend) -> AsyncGenerator[None]:
    await owner.execute(SCHEMA)
    backend.database.catalog.forget()
    yield
    await owner.execute("DROP SCHEMA calls CASCADE; DELETE FROM rpc.procedures")
    await owner.execute("DELETE FROM rpc.executions")


@pytest.fixture
async def rpc_callers(
    http: httpx2.AsyncClient, rpc_keys: dict[str, tuple[str, str]], service: Caller
) -> dict[str, Caller]:
    for name, types in FUNCTIONS.items():
        await service.call(
            "publish_procedure",
            name=name,
            function=f"calls.{name}({types})",
            public=True,
            timeout_seconds=0.5 if name == "slow" else 30,
            max_rows=5 if name in ("many", "numbers") else 1000,
            read_only=name in READING,
        )
    return {name: Caller(name, id_, key, http) for name, (id_, key) in rpc_keys.items()}


@pytest.fixture
def one(rpc_callers: dict[str, Caller]) -> Caller:
    return rpc_callers["one"]


@pytest.fixture
def two(rpc_callers: dict[str, Caller]) -> Caller:
    return rpc_callers["two"]


async def data(caller: Caller, name: str, **params: Any) -> Any:
    return (await caller.call("invoke_rpc", name=name, params=params))["data"]


async def test_parameters_come_by_name_and_defaults_stand_in(one: Caller) -> None:
    assert await data(one, "add", a=1, b=2) == 3
    assert await data(one, "add", b=2, a=1) == 3
    assert await data(one, "add", a=1) == 11
    assert await data(one, "nameless", arg1=5, arg2=3) == 2
    assert await data(one, "sum_up", first=1, more=[2, 3]) == 6
    assert await data(one, "sum_up", first=1) == 1


async def test_every_kind_of_value_arrives_whole(one: Caller) -> None:
    given = {
        "big": 12345678901234567890123456789,
        "matrix": [[1, 2], [3, None]],
        "here": {"street": "Main it's", "number": 4},
        "doc": {"a": [1, "x"]},
        "mood": "glad",
    }
    answer = await data(one, "kinds", **given)
    assert answer == {**{k: v for k, v in given.items() if k != "here"}, "street": "Main it's"}


async def test_results_have_the_shape_of_the_function(one: Caller) -> None:
    assert await data(one, "both", a=2) == {"doubled": 4, "word": "n2"}
    assert await data(one, "nothing") is None
    assert await data(one, "none") is None
    assert await data(one, "numbers", n=2) == [1, 2]
    assert await data(one, "many", n=0) == []
    full = await one.call("invoke_rpc", name="many", params={"n": 9})
    assert [row["id"] for row in full["data"]] == [1, 2, 3, 4, 5]
    assert (full["rows_returned"], full["truncated"], full["status"]) == (5, True, "completed")
    assert full["duration_ms"] > 0


async def test_what_a_function_leaves_in_its_session_is_not_there_in_the_next_call(
    one: Caller,
) -> None:
    for _ in range(8):  # more than there are connections
        assert await data(one, "leave", word="planted") == "planted"
        assert await data(one, "left_over") is None


async def test_a_key_s_own_limit_of_rows_holds(
    backend: Backend, http: httpx2.AsyncClient, rpc_callers: dict[str, Caller]
) -> None:
    new = NewKey("rpc of few rows", ("execute:rpc",), user_id=USER1, max_rows=2)
    issued = await backend.keys.create("client_key", new)
    few = Caller("few", issued.id, issued.key, http)
    answer = await few.call("invoke_rpc", name="many", params={"n": 4})
    assert (len(answer["data"]), answer["rows_returned"], answer["truncated"]) == (2, 2, True)
    await backend.keys.delete("client_key", issued.id)


async def test_a_call_has_the_rights_of_its_caller(one: Caller, two: Caller, owner: Owner) -> None:
    await owner.execute("DELETE FROM calls.kept")
    [row] = await data(one, "keep", body="of one")
    assert row["user_id"] == USER1
    assert await data(two, "mine") == []
    assert len(await data(one, "mine")) == 1
    assert await data(two, "me") == USER2


async def test_what_fails_changes_nothing_and_says_no_word_of_its_own(
    one: Caller, owner: Owner
) -> None:
    error = await refused(one, "invoke_rpc", name="fails", params={"body": "lost"})
    assert error.code == "FLX601"
    assert "secret" not in str(error.answer)
    assert await owner.fetchval("SELECT count(*) FROM calls.kept WHERE body = 'lost'") == 0
    slow = await refused(one, "invoke_rpc", name="slow")
    assert (slow.code, "0.5 s" in slow.message) == ("FLX503", True)
    kept = await owner.fetch(
        "SELECT name, status FROM rpc.executions ORDER BY started_at DESC LIMIT 2"
    )
    assert [tuple(row) for row in kept] == [("slow", "failed"), ("fails", "failed")]


@pytest.mark.parametrize(
    ("name", "params", "code", "said"),
    [
        ("add", {"a": 1, "c": 2}, "FLX101", "number 2 is unknown; there are: a, b"),
        ("add", {"b": 2}, "FLX101", "a is missing"),
        ("add", {"a": "x"}, "FLX602", "params"),
        ("add", {"a": 2**40}, "FLX602", "params"),
        (
            "kinds",
            {"big": 1, "matrix": "{", "here": {}, "doc": 1, "mood": "calm"},
            "FLX602",
            "params",
        ),
        ("nameless", {"arg2": 1}, "FLX101", "arg1 is missing"),
        ("nothing", {"x": 1}, "FLX101", "there are: none"),
        ("nowhere", {}, "FLX207", "No such procedure"),
    ],
)
async def test_what_is_wrong_is_told(
    one: Caller, name: str, params: dict[str, Any], code: str, said: str
) -> None:
    error = await refused(one, "invoke_rpc", name=name, params=params)
    assert error.code == code
    assert said in error.message


async def test_only_those_for_whom_it_is_published_know_of_it(
    one: Caller, service: Caller, rpc_callers: dict[str, Caller]
) -> None:
    names = {p["name"] for p in (await one.call("list_rpc"))["procedures"]}
    assert names == set(FUNCTIONS)
    reader = {p["name"] for p in (await rpc_callers["reader"].call("list_rpc"))["procedures"]}
    assert reader == READING
    assert (
        await refused(rpc_callers["reader"], "invoke_rpc", name="keep", params={"body": "x"})
    ).code == "FLX207"
    add = {"name": "add", "function": "calls.add(integer, integer)"}
    for rule in (
        {"required_roles": ["anon"]},
        {"public": True, "required_scopes": ["read:tables"]},
        {"required_roles": ["authenticated"], "required_scopes": ["write:tables"]},
    ):
        assert (await service.call("publish_procedure", **add, **rule))["replaced"] is True
        assert "add" not in {p["name"] for p in (await one.call("list_rpc"))["procedures"]}
        assert (await refused(one, "invoke_rpc", name="add", params={"a": 1})).code == "FLX207"
    await service.call("publish_procedure", **add, required_roles=["authenticated"])
    assert await data(one, "add", a=1) == 11
    other = await refused(one, "invoke_rpc", name="add", namespace="other", params={"a": 1})
    assert other.code == "FLX207"
    await service.call("withdraw_procedure", name="add")
    assert (await refused(one, "invoke_rpc", name="add", params={"a": 1})).code == "FLX207"
    assert (await refused(service, "withdraw_procedure", name="add")).code == "FLX207"


async def test_schemas_tell_what_it_takes_and_gives(one: Caller) -> None:
    found = {p["name"]: p for p in (await one.call("list_rpc", namespace="default"))["procedures"]}
    add = found["add"]
    assert add["description"] == "Adds two numbers."
    assert add["input_schema"]["required"] == ["a"]
    assert add["input_schema"]["properties"]["b"] == {"type": "integer", "description": "integer"}
    assert add["output_schema"] == {"description": "integer"}
    kinds = found["kinds"]["input_schema"]["properties"]
    assert kinds["mood"]["enum"] == ["calm", "glad"]
    assert kinds["matrix"]["type"] == "array"
    assert kinds["here"]["type"] == "object"
    assert set(found["many"]["output_schema"]["items"]["properties"]) == {"id", "word"}
    read = await one.rpc("resources/read", uri="fluxbase://rpc")
    assert '"name":"add"' in read["result"]["contents"][0]["text"]


async def test_nobody_is_told_of_calls_of_others(one: Caller, two: Caller, service: Caller) -> None:
    done = await one.call("invoke_rpc", name="add", params={"a": 1})
    told = await one.call("get_rpc_execution", execution_id=done["execution_id"])
    assert (told["status"], told["name"], told["rows_returned"]) == ("completed", "add", 1)
    error = await refused(two, "get_rpc_execution", execution_id=done["execution_id"])
    assert error.code == "FLX207"
    assert (await service.call("get_rpc_execution", execution_id=done["execution_id"]))[
        "name"
    ] == "add"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"function": "calls.nowhere()"}, "FLX101"),
        ({"function": "calls.add"}, "FLX101"),
        ({"function": "calls.add(integer, integer); DROP TABLE x"}, "FLX101"),
        ({"function": "calls.any_of(anyelement)"}, "FLX101"),
        ({"function": "calls.proc()"}, "FLX101"),
        ({"function": "calls.trap()"}, "FLX101"),
        ({"function": "pg_catalog.pg_sleep(double precision)"}, "FLX302"),
        ({"function": "auth.uid()"}, "FLX302"),
        ({"public": False}, "FLX101"),
        ({"required_scopes": ["nothing:here"]}, "FLX101"),
        ({"name": "a b"}, "FLX101"),
    ],
)
async def test_what_cannot_be_published_is_told(
    service: Caller, arguments: dict[str, Any], code: str
) -> None:
    wanted = {"name": "x", "function": "calls.add(integer, integer)", "public": True, **arguments}
    assert (await refused(service, "publish_procedure", **wanted)).code == code


async def test_old_calls_are_forgotten(one: Caller, owner: Owner, backend: Backend) -> None:
    old = (await one.call("invoke_rpc", name="me"))["execution_id"]
    await owner.execute("UPDATE rpc.executions SET started_at = now() - interval '2 days'")
    new = (await one.call("invoke_rpc", name="me"))["execution_id"]
    await backend.database.admin("prune_executions", seconds=86_400.0)
    assert (await refused(one, "get_rpc_execution", execution_id=old)).code == "FLX207"
    assert (await one.call("get_rpc_execution", execution_id=new))["status"] == "completed"
