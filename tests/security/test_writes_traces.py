"""What a write leaves behind cannot be read, forged or left out by who writes.

Records of writes, rows before them and answers under keys lie in `platform`. They are made by
functions that the login may call, in the caller's own transaction; so the battery lets callers'
SQL run there, in triggers at every moment of a write.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.db import session as sessions
from fluxbase.db.sql import Sql
from tests.integration.tables.own_tables import open_to_all, refused, traced, until_known
from tests.security.traps import ATTACKS
from tests.world import USER1, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.app.backend import Backend
    from tests.security.conftest import Tight
    from tests.world import Caller

RECORDS = ("undo", "idempotency", "audit")
MADE = """
CREATE TABLE public.witness (who text, role text, uid uuid, note text);
CREATE TABLE public.sprung (id integer PRIMARY KEY, early text, late text);
CREATE FUNCTION public.spring_early() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.early IS NOT NULL THEN EXECUTE NEW.early; END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION public.spring_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.late IS NOT NULL THEN EXECUTE NEW.late; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER early BEFORE INSERT ON public.sprung
  FOR EACH ROW EXECUTE FUNCTION public.spring_early();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.sprung DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION public.spring_late();
CREATE FUNCTION public.peek(s public.sprung) RETURNS bigint LANGUAGE sql STABLE
  AS 'SELECT count(*) FROM platform.undo';
CREATE VIEW public.undo_invoker WITH (security_invoker = true) AS SELECT * FROM platform.undo;
CREATE VIEW public.undo_owner AS SELECT * FROM platform.undo;
GRANT SELECT ON public.undo_invoker, public.undo_owner TO authenticated;
"""
GONE = """
DROP VIEW public.undo_invoker, public.undo_owner;
DROP TABLE public.sprung, public.witness CASCADE;
DROP FUNCTION public.spring_early, public.spring_late;
"""
WITNESS = (
    "INSERT INTO public.witness SELECT current_user, current_setting('role'), auth.uid(), '{}'"
)


@pytest.fixture(scope="module")
async def made(owner: Any) -> AsyncGenerator[None]:
    await owner.execute(MADE + open_to_all("sprung", "witness"))
    yield
    await owner.execute(GONE)


@pytest.fixture
async def me(made: None, callers: dict[str, Caller], tight: Tight, owner: Any) -> Caller:
    await owner.execute("TRUNCATE public.sprung, public.witness")
    caller = tight.callers["user1"]
    await until_known(caller, "sprung")
    return caller


async def spring(caller: Caller, **row: Any) -> str | None:
    """Insert a row whose orders are run; return the code of the refusal, if refused."""
    try:
        await caller.call("insert_record", table="sprung", data={"id": 1, **row}, returning="")
    except Refused as error:
        return error.code
    return None


# Who may read and write the records.


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("written", ["platform.{}", "{}", '"platform".{}', "Platform.{}"])
async def test_for_client_keys_the_records_do_not_exist(
    callers: dict[str, Caller], name: str, written: str
) -> None:
    table = written.format(name)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("query_table", {}),
        ("count_records", {}),
        ("describe_table", {}),
        ("insert_record", {"data": {"action": "x"}}),
        ("update_record", {"data": {"action": "x"}, "filter": {"action": "x"}}),
        ("delete_record", {"filter": {"action": "not.is.null"}}),
    ]
    for caller in ("user1", "anon"):
        for tool, more in calls:
            if caller == "anon" and tool == "describe_table":
                continue
            error = await refused(callers[caller], tool, table=table, **more)
            assert error.code == "FLX201"


@pytest.mark.parametrize("name", RECORDS)
async def test_service_keys_change_no_record(service: Caller, owner: Any, name: str) -> None:
    count = f"SELECT count(*) FROM platform.{name} WHERE action = 'forged'"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("insert_record", {"data": {"action": "forged", "outcome": "ok"}}),
        ("update_record", {"data": {"action": "forged"}, "filter": {"action": "not.is.null"}}),
        ("delete_record", {"filter": {"action": "not.is.null"}}),
    ]
    for tool, more in calls:
        error = await refused(service, tool, table=f"platform.{name}", returning="", **more)
        assert error.code in ("FLX201", "FLX202", "FLX302")
    assert await owner.fetchval(count) == 0


async def test_neither_views_nor_computed_fields_show_a_caller_the_records(me: Caller) -> None:
    await spring(me)
    for asked in (
        {"table": "undo_invoker"},
        {"table": "undo_owner"},
        {"table": "sprung", "select": "id,peek"},
        {"table": "sprung", "filter": {"peek": "gte.0"}},
        {"table": "sprung", "order": "peek"},
    ):
        error = await refused(me, "query_table", **asked)
        assert error.code in ("FLX201", "FLX302")
    error = await refused(me, "delete_record", table="sprung", filter={"id": 1}, returning="peek")
    assert error.code == "FLX302"


TOUCHING = [
    "SELECT * FROM platform.undo",
    "SELECT * FROM platform.idempotency",
    "SELECT * FROM platform.audit",
    "DELETE FROM platform.undo",
    "UPDATE platform.audit SET rows = 0",
    "UPDATE platform.idempotency SET answer = '[]'",
    "INSERT INTO platform.undo (audit_id, target, action, complete) VALUES (1, 'x', 'x', true)",
    "TRUNCATE platform.undo",
    "LOCK TABLE platform.undo",
    "SELECT platform.finish_write(1, 1, NULL, NULL, true, NULL, NULL, NULL)",
    "SELECT platform.claim_key('x', 'x', 'x', 'x')",
    "SELECT platform.write_audit('x', 'x', 'x', 'x', 'x', '{}', 'x', NULL)",
    "CREATE OR REPLACE FUNCTION platform.finish_write() RETURNS void LANGUAGE sql AS ''",
    "SELECT nextval('platform.audit_id_seq')",
]


@pytest.mark.parametrize("orders", TOUCHING)
async def test_no_sql_of_a_caller_s_role_touches_the_records(
    me: Caller, tight: Tight, owner: Any, backend: Backend, orders: str
) -> None:
    for when in ("early", "late"):
        assert await spring(me, **{when: orders}) == "FLX302"
    assert await owner.fetchval("SELECT count(*) FROM public.sprung") == 0
    conn = await asyncpg.connect(backend.database.logins.client)
    try:
        await conn.execute(f"SET ROLE {tight.who['user1'].role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with conn.transaction():
                await conn.execute(orders)
    finally:
        await conn.close()


# What the login may call.

FINISH = "SELECT platform.finish_write($1, 999, '[1]', '[2]', false, $2, $3, 'forged')"
XMIN = "a.xmin = pg_current_xact_id()::xid"


async def finish_another(me: Caller, owner: Any, backend: Backend, *rows: str) -> tuple[Any, ...]:
    """End a write that is committed once more, as the login, and return what is kept of it."""
    call: dict[str, Any] = {"data": {"id": 1}, "idempotency_key": "word"}
    await me.call("insert_record", table="sprung", **call)
    kept = await traced(owner)
    for sql in rows:
        await owner.execute(sql.format(id=kept["id"]))
    conn = await asyncpg.connect(backend.database.logins.client)
    try:
        await conn.fetch(FINISH, kept["id"], me.id, "word")
    except asyncpg.PostgresError:
        pass  # it may also refuse
    finally:
        await conn.close()
    after = await traced(owner)
    answer = await owner.fetchval(
        "SELECT answer FROM platform.idempotency WHERE principal = $1 AND key = 'word'", me.id
    )
    await owner.execute("DELETE FROM platform.idempotency")
    return after["rows"], after["before"], after["inserted"], after["complete"], answer


# The second as if the first had left its record unfinished, as an answer sent again does.
UNFINISHED = (
    "UPDATE platform.audit SET rows = NULL WHERE id = {id}",
    "DELETE FROM platform.undo WHERE audit_id = {id}",
    "UPDATE platform.idempotency SET answer = NULL",
)


async def test_a_write_that_is_committed_is_never_ended_anew(
    me: Caller, owner: Any, backend: Backend
) -> None:
    rows, before, inserted, complete, answer = await finish_another(me, owner, backend)
    assert (rows, before, complete) == (1, None, True)
    assert json.loads(inserted) == [{"id": 1}]
    assert "forged" not in answer
    await owner.execute("TRUNCATE public.sprung")
    left = await finish_another(me, owner, backend, *UNFINISHED)
    assert left == (None, None, None, None, None)


async def test_control_a_function_that_asks_not_who_began_forges_records(
    me: Caller, owner: Any, backend: Backend
) -> None:
    question = "SELECT pg_get_functiondef('platform.finish_write'::regproc)"
    whole = await owner.fetchval(question)
    assert XMIN in whole
    await owner.execute(whole.replace(XMIN, "true"))
    try:
        forged = await finish_another(me, owner, backend, *UNFINISHED)
    finally:
        await owner.execute(whole)
    assert forged[0] == 999


# The last words of a write, and triggers that run before, with and after them.


async def test_what_is_deferred_to_the_end_runs_as_the_caller(
    me: Caller, tight: Tight, owner: Any
) -> None:
    row = {"early": WITNESS.format("early"), "late": WITNESS.format("late")}
    assert await spring(me, **row) is None
    who = tight.who["user1"].role
    seen = await owner.fetch("SELECT who, role, uid::text, note FROM public.witness ORDER BY note")
    assert [tuple(r) for r in seen] == [(who, who, USER1, "early"), (who, who, USER1, "late")]
    kept = await traced(owner)
    assert (kept["rows"], json.loads(kept["inserted"])) == (1, [{"id": 1}])


async def test_control_without_ending_what_is_deferred_first_it_runs_as_the_login(
    me: Caller, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_words: Any = vars(sessions)["_last_words"]
    guard = "SET CONSTRAINTS ALL IMMEDIATE; "

    def unguarded(*given: Any) -> Sql:
        said = last_words(*given)
        assert guard in said
        return Sql(said.replace(guard, ""))

    monkeypatch.setattr(sessions, "_last_words", unguarded)
    # Postgres 18 remembers the user of a deferred trigger, but not the role that was set.
    told = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = CASE current_setting('role') "
    told += "WHEN 'none' THEN '23514' ELSE '22023' END; END $$"
    assert await spring(me, late=told) == "FLX601"
    monkeypatch.undo()
    assert await spring(me, late=told) == "FLX602"
    assert await owner.fetchval("SELECT count(*) FROM public.sprung") == 0


LATER = "SET CONSTRAINTS ALL DEFERRED; INSERT INTO public.sprung VALUES (2, NULL, {})"


async def test_what_is_deferred_anew_at_the_end_never_runs_as_another(
    me: Caller, tight: Tight, owner: Any
) -> None:
    orders = LATER.format("$q$" + WITNESS.format("again") + "$q$")
    code = await spring(me, late=orders)
    seen = await owner.fetch("SELECT who, uid::text FROM public.witness")
    assert all(tuple(r) == (tight.who["user1"].role, USER1) for r in seen)
    assert (code is None) == bool(seen)
    assert await owner.fetchval("SELECT count(*) FROM public.sprung") == (0 if code else 2)


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_whatever_a_trigger_does_the_record_is_true_or_the_write_is_refused(
    me: Caller, tight: Tight, owner: Any, when: str, attack: str
) -> None:
    last = await owner.fetchval("SELECT max(id) FROM platform.audit")
    code = await spring(me, **{when: ATTACKS[attack]})
    there = await owner.fetchval("SELECT count(*) FROM public.sprung")
    kept = await traced(owner)
    if code is None:
        assert (there, kept["rows"], kept["complete"]) == (1, 1, True)
        assert (kept["principal"], kept["target"]) == (me.id, "public.sprung")
        assert json.loads(kept["inserted"]) == [{"id": 1}]
    else:
        assert there == 0
        assert kept["id"] <= last or kept["outcome"] != "ok"
    # Whoever comes next finds a connection that works as ever.
    assert await me.rows("sprung", select="id") == [{"id": 1}] * there


FORGE = """DO $$ BEGIN RESET ROLE; FOR i IN 1..{} LOOP
  PERFORM platform.finish_write(i, 12345, '[]', '[]', true, 'x', NULL, NULL);
END LOOP; END $$"""


@pytest.mark.parametrize("when", ["early", "late"])
async def test_a_trigger_that_goes_back_to_the_login_cannot_end_the_write_itself(
    me: Caller, owner: Any, when: str
) -> None:
    newest = await owner.fetchval("SELECT max(id) FROM platform.audit")
    code = await spring(me, **{when: FORGE.format(newest + 100)})
    forged = "SELECT count(*) FROM platform.audit WHERE rows = 12345"
    assert await owner.fetchval(forged) == 0
    kept = await traced(owner)
    there = await owner.fetchval("SELECT count(*) FROM public.sprung")
    assert (there, kept["rows"]) == ((0, kept["rows"]) if code else (1, 1))


async def test_functions_of_records_look_names_up_in_one_place_alone(owner: Any) -> None:
    # Without pg_temp at the end, temporary types would stand before those of Postgres.
    rows = await owner.fetch(
        "SELECT proname, proconfig FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
        "WHERE nspname = 'platform' AND prosecdef"
    )
    assert {row["proname"] for row in rows} >= {"write_audit", "claim_key", "finish_write"}
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"], row["proname"]
