"""Free SQL does what SQL does, within the rights of its key and no further."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from tests.security.test_matrix import JWT, TokenCaller, token
from tests.world import USER1, USER2, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend


async def run(caller: Caller, sql: str, *params: object, **more: Any) -> dict[str, Any]:
    asked = {"sql": sql, "description": "a test", "params": list(params), **more}
    return await caller.call("execute_sql", **asked)


async def refused(caller: Caller, sql: str, *params: object, **more: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await run(caller, sql, *params, **more)
    return caught.value


async def test_a_select_gives_the_caller_s_rows(one: Caller, two: Caller) -> None:
    for caller, count in ((one, 10), (two, 7)):
        got = await run(caller, "SELECT id, title FROM notes ORDER BY id")
        assert got["row_count"] == len(got["rows"]) == count
        assert got["columns"] == ["id", "title"]
        assert got["rows"][0]["title"].startswith(f"user{1 if caller is one else 2}")
        assert (got["success"], got["tables"], got["truncated"]) == (True, ["public.notes"], False)
        assert got["summary"] == f"{count} rows"
    [mine] = (await run(one, "SELECT auth.uid() AS me, count(*) AS n FROM public.notes"))["rows"]
    assert mine == {"me": USER1, "n": 10}


async def test_all_that_reads_may_be_asked(one: Caller) -> None:
    for sql in (
        "WITH a AS (SELECT rank, count(*) AS n FROM notes GROUP BY 1) SELECT * FROM a WHERE n > 0",
        "SELECT n.title, c.body FROM notes n LEFT JOIN comments c ON c.note_id = n.id ORDER BY 1",
        "SELECT rank, sum(rank) OVER (ORDER BY id) FROM notes",
        "SELECT mood, percentile_cont(0.5) WITHIN GROUP (ORDER BY rank) FROM notes GROUP BY 1",
        "SELECT meta->>'n', meta @> '{\"n\": 1}', tags && ARRAY['t1'] FROM notes",
        "SELECT date_trunc('day', seen_at), seen_at - interval '1 day' FROM notes",
        "SELECT * FROM generate_series(1, 3) AS g(n), LATERAL (SELECT n * 2 AS m) x",
        "SELECT title FROM notes UNION SELECT headline FROM news",
        "WITH RECURSIVE t AS (SELECT 1 n UNION ALL SELECT n+1 FROM t WHERE n < 5) SELECT n FROM t",
        "SELECT string_agg(title, ', ' ORDER BY id) FILTER (WHERE done) FROM notes",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT CASE WHEN done THEN 'yes' ELSE 'no' END, coalesce(body, '') FROM notes",
    ):
        got = await run(one, sql)
        assert got["row_count"] == len(got["rows"]) > 0, sql


@pytest.mark.parametrize(
    ("sql", "params", "wanted"),
    [
        ("SELECT $1 AS x", ["a"], "a"),
        ("SELECT $1 AS x", ["'; DROP TABLE notes; --"], "'; DROP TABLE notes; --"),
        ("SELECT $1 + 1 AS x", [41], 42),
        ("SELECT $1 AS x", [2**70], 2**70),
        ("SELECT $1 AS x", [1.5], 1.5),
        ("SELECT NOT $1 AS x", [True], False),
        ("SELECT $1 IS NULL AS x", [None], True),
        ("SELECT $1 ->> 'a' AS x", [{"a": "b"}], "b"),
        ("SELECT 2 = ANY($1) AS x", [[1, 2]], True),
        ("SELECT 'b' = ANY($1) AS x", [["a", "b"]], True),
        ("SELECT $1::uuid AS x", [USER1], USER1),
        ("SELECT $1::date + 1 AS x", ["2026-01-31"], "2026-02-01"),
        ("SELECT $2 || $1 AS x", ["a", "b"], "ba"),
    ],
)
async def test_values_travel_beside_the_statement(
    one: Caller, sql: str, params: list[Any], wanted: Any
) -> None:
    [row] = (await run(one, sql, *params))["rows"]
    assert row["x"] == wanted


async def test_columns_of_one_name_are_told_apart(one: Caller) -> None:
    got = await run(one, "SELECT 1 AS a, 2 AS a, 3 AS a_2")
    assert got["columns"] == ["a", "a_2", "a_2_2"]
    assert got["rows"] == [{"a": 1, "a_2": 2, "a_2_2": 3}]


async def test_answers_are_bounded(one: Caller) -> None:
    got = await run(one, "SELECT * FROM generate_series(1, 1000) n", limit=5)
    assert (got["row_count"], got["truncated"], got["summary"]) == (
        5,
        True,
        "5 rows (there are more)",
    )
    assert (await run(one, "SELECT * FROM generate_series(1, 101) n"))["truncated"] is True
    assert (await run(one, "SELECT * FROM generate_series(1, 100) n"))["truncated"] is False
    wide = (
        "SELECT g, string_agg('0123456789', '') FROM generate_series(1, 100) g, "
        "generate_series(1, 10000) h GROUP BY g"
    )
    got = await run(one, wide)
    assert 10 < got["row_count"] < 100
    assert got["truncated"]


async def test_what_would_cost_too_much_is_not_begun(one: Caller) -> None:
    error = await refused(
        one, "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b"
    )
    assert error.code == "FLX101"
    assert "cost" in error.message
    plan = await one.call("explain_query", sql="SELECT id FROM notes WHERE id = $1", params=[1])
    assert plan["cost"] > 0
    assert plan["plan"]["Plan"]["Node Type"]
    assert plan["tables"] == ["public.notes"]
    ran = await one.call("explain_query", sql="SELECT 1", analyze=True)
    assert "Actual Rows" in ran["plan"]["Plan"]


async def test_writes_need_to_be_said_and_allowed(
    askers: dict[str, Caller], one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    sql = "UPDATE notes SET rank = rank + 100 WHERE id <= $1"
    assert (await refused(one, sql, 3)).code == "FLX302"
    assert (await refused(askers["reader"], sql, 3, write=True)).code == "FLX302"
    assert (await refused(askers["read_only"], sql, 3, write=True)).code == "FLX302"
    assert (await run(askers["read_only"], "SELECT 1"))["row_count"] == 1
    tried = await run(one, sql, 3, write=True, dry_run=True)
    assert (tried["row_count"], tried["dry_run"], tried["summary"]) == (
        3,
        True,
        "3 rows would change",
    )
    assert await owner.fetchval("SELECT max(rank) FROM notes") < 100
    await owner.execute("TRUNCATE platform.audit")
    done = await run(one, sql, 3, write=True)
    assert (done["row_count"], done["summary"]) == (3, "3 rows changed")
    assert await owner.fetchval("SELECT count(*) FROM notes WHERE rank > 100") == 3
    note = await owner.fetchrow("SELECT action, target, outcome FROM platform.audit")
    assert note is not None
    assert tuple(note) == ("execute_sql", "public.notes", "ok")
    back = await run(one, "DELETE FROM notes WHERE id = 1 RETURNING id, title", write=True)
    assert [row["id"] for row in back["rows"]] == [1]
    assert (await run(one, "DELETE FROM notes", write=True))["row_count"] == 9
    assert await owner.fetchval("SELECT count(*) FROM notes") == 7  # those of the other


async def test_a_write_that_breaks_a_rule_changes_nothing(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    for sql, code in (
        ("UPDATE notes SET rank = 666", "FLX601"),
        (
            f"INSERT INTO notes (title, user_id) VALUES ('x', '{USER2}')",
            "FLX302",
        ),
        ("UPDATE notes SET secret = 'x'", "FLX302"),
        ("INSERT INTO notes (id) VALUES (1)", "FLX601"),
    ):
        assert (await refused(one, sql, write=True)).code == code, sql
    assert await owner.fetchval("SELECT count(*) FROM notes WHERE rank = 666") == 0


async def test_mistakes_are_explained_without_a_word_of_postgres(one: Caller) -> None:
    for sql, params, said in (
        ("SELECT nothing FROM notes", [], "a column does not exist"),
        ("SELECT to_tsvector('klingon', title) FROM notes", [], "configuration, is not there"),
        ("SELECT FROM WHERE", [], "cannot be read at line 1"),
        ("SELECT id = $1 FROM notes", ["x"], "function or operator does not exist"),
        ("SELECT * FORM notes WHERE", [], "cannot be read"),
        ("SELECT title, count(*) FROM notes", [], "GROUP BY"),
        ("SELECT 1 / 0", [], "division by zero"),
        ("SELECT $1", [], "0 values are given"),
        ("SELECT 1", [1], "does not use"),
        ("SELECT id FROM notes, comments", [], "fits several tables"),
        ("SELECT 1; SELECT 2", [], "exactly one statement"),
        ("", [], "sql"),
        ("(" * 5000, [], "too deeply"),
    ):
        error = await refused(one, sql, *params)
        assert error.code == "FLX101", sql
        assert said in error.message, (sql, error.message)


async def test_users_with_tokens_have_no_free_sql(serving: Callable[..., Any], rows: None) -> None:
    async with serving(auth={"jwt": {**JWT, "scopes": ["execute:sql"]}}) as http:
        caller = TokenCaller("token", "token", token(), http)
        error = await refused(caller, "SELECT 1")
    assert error.code == "FLX302"


async def test_a_key_s_own_lists_bind_its_sql(askers: dict[str, Caller]) -> None:
    narrow = askers["narrow"]
    assert (await run(narrow, "SELECT count(*) AS n FROM news"))["rows"] == [{"n": 30}]
    for sql in (
        "SELECT * FROM notes",
        "WITH notes AS (SELECT 1) SELECT * FROM public.notes",
        "SELECT * FROM (WITH notes AS (SELECT 1) SELECT * FROM notes) x, notes",
        "WITH notes AS (SELECT * FROM notes) SELECT * FROM notes",
    ):
        assert (await refused(narrow, sql)).code == "FLX201", sql


async def test_a_service_key_reads_all_and_is_no_superuser(askers: dict[str, Caller]) -> None:
    service = askers["service"]
    assert (await run(service, "SELECT count(*) AS n FROM notes"))["rows"] == [{"n": 17}]
    assert (await refused(service, "SELECT * FROM auth.api_keys")).code == "FLX302"
    assert (await refused(service, "SELECT * FROM pg_authid")).code == "FLX201"


async def test_a_revoked_key_cannot_log_in_any_more(
    backend: Backend, one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    issued = await backend.keys.create("client_key", NewKey("brief", ("execute:sql",)))
    brief = Caller("brief", issued.id, issued.key, one.http)
    await run(brief, "SELECT 1")
    can = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1"
    assert await owner.fetchval(can, f"key_{issued.id}") is True
    await backend.keys.revoke("client_key", issued.id)
    assert await owner.fetchval(can, f"key_{issued.id}") is False
    await backend.keys.delete("client_key", issued.id)
    assert await owner.fetchval(can, f"key_{issued.id}") is None


async def test_the_first_statements_of_a_key_may_come_at_once(
    backend: Backend, one: Caller
) -> None:
    issued = await backend.keys.create("client_key", NewKey("at once", ("execute:sql",)))
    caller = Caller("at once", issued.id, issued.key, one.http)
    done = await asyncio.gather(*(run(caller, "SELECT 1 AS x") for _ in range(8)))
    assert all(result["rows"] == [{"x": 1}] for result in done)
    # And other instances may let the key in at the same moment.
    asked = {"role": f"key_{issued.id}", "verifier": "another password"}
    await asyncio.gather(*(backend.database.admin("let_key_log_in", **asked) for _ in range(6)))
    await backend.keys.delete("client_key", issued.id)
