"""What keeps a write from doing more than was meant: filters, max_affected, dry_run, if_match."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.tables.own_tables import (
    open_to_all,
    refused,
    tables,
    traced,
    until_known,
    until_waiting,
)
from tests.world import USER1, USER2, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from tests.world import Caller

MADE = """
CREATE TABLE public.task (
  id integer PRIMARY KEY,
  owner uuid NOT NULL DEFAULT auth.uid(),
  title text,
  size integer,
  version integer NOT NULL DEFAULT 1,
  stamp timestamptz,
  span int4range,
  tags text[],
  meta jsonb,
  done boolean,
  next_id integer CONSTRAINT task_next REFERENCES public.task DEFERRABLE INITIALLY DEFERRED,
  place integer CONSTRAINT task_place UNIQUE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE public.step (id integer PRIMARY KEY, task_id integer REFERENCES public.task);
CREATE FUNCTION public.heavy(t public.task) RETURNS boolean LANGUAGE sql STABLE
  AS $$ SELECT t.size > 5 $$;
CREATE TABLE public.lent (id integer PRIMARY KEY, owner uuid NOT NULL, size integer);
ALTER TABLE public.lent ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON public.lent FOR SELECT USING (true);
CREATE POLICY changed ON public.lent FOR UPDATE USING (owner = auth.uid());
GRANT SELECT, UPDATE ON public.lent TO authenticated;
"""
ROWS = """
TRUNCATE public.task, public.step, public.lent CASCADE;
INSERT INTO public.task (id, owner, title, size, stamp, span, tags, meta, done)
SELECT n, '00000000-0000-4000-8000-000000000001', 'task ' || n, n,
  '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 day', int4range(n, n + 3),
  ARRAY['t' || n, 'all'], jsonb_build_object('n', n, 'deep', jsonb_build_object('k', 'v' || n)),
  CASE n % 3 WHEN 0 THEN NULL ELSE n % 2 = 0 END
FROM generate_series(1, 9) n;
INSERT INTO public.lent VALUES (1, '00000000-0000-4000-8000-000000000001', 1),
  (2, '00000000-0000-4000-8000-000000000002', 1);
"""
NAMES = ("step", "task", "lent")
COUNTS = """SELECT (SELECT count(*) FROM platform.undo),
  (SELECT count(*) FROM platform.idempotency)"""


@pytest.fixture(scope="module")
async def made(owner: Connection[Record]) -> AsyncGenerator[None]:
    async with tables(owner, MADE + open_to_all("task", "step"), *NAMES):
        yield


@pytest.fixture
async def me(made: None, user1: Caller, owner: Connection[Record]) -> Caller:
    await owner.execute(ROWS)
    await until_known(user1, "lent")
    return user1


async def ids(owner: Connection[Record], where: str = "true") -> list[int]:
    found = await owner.fetch(f"SELECT id FROM public.task WHERE {where} ORDER BY id")
    return [row["id"] for row in found]


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"id": 3}, [3]),
    ({"id": "in.(1,2,99)"}, [1, 2]),
    ({"id": {"in": [8, 9]}}, [8, 9]),
    ({"id": "not.in.(1,2,3)"}, [4, 5, 6, 7, 8, 9]),
    ({"size": {"gte": 4, "lt": 6}}, [4, 5]),
    ({"size": ["gt.2", "lte.4"]}, [3, 4]),
    ({"or": [{"id": 1}, {"and": [{"size": "gt.7"}, {"done": "is.true"}]}]}, [1, 8]),
    ({"or": "(id.eq.1,not.and(size.lt.9,id.gt.0))"}, [1, 9]),
    ({"not.or": "(size.lt.5,size.gt.6)"}, [5, 6]),
    ({"not": {"size": {"gt": 1}}}, [1]),
    ({"meta->n": "eq.4"}, [4]),
    ({"meta->deep->>k": "in.(v1,v9)"}, [1, 9]),
    ({"meta": 'cs.{"n":2}'}, [2]),
    ({"tags": "cs.{t5}"}, [5]),
    ({"tags": "ov.{t5,t6}"}, [5, 6]),
    ({"span": "cs.[3,4)"}, [1, 2, 3]),
    ({"span": "sl.[6,9)"}, [1, 2, 3]),
    ({"span": "adj.[4,5)"}, [1, 5]),
    ({"title": "like.*k 7"}, [7]),
    ({"title": {"like(any)": ["*1", "*2"]}}, [1, 2]),
    ({"title": "match.^task [89]$"}, [8, 9]),
    ({"done": "is.null"}, [3, 6, 9]),
    ({"done": "isdistinct.false"}, [2, 3, 4, 6, 8, 9]),
    ({"stamp": "gte.2026-01-09T00:00:00Z"}, [8, 9]),
    ({"heavy": "is.true", "size": "lt.8"}, [6, 7]),
    ({"id": "gt.99"}, []),
]


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
@pytest.mark.parametrize(("given", "met"), FILTERS, ids=lambda v: str(v)[:50])
async def test_a_write_touches_exactly_the_rows_that_its_filter_finds(
    me: Caller, owner: Any, tool: str, given: dict[str, Any], met: list[int]
) -> None:
    data = {"data": {"version": 50}} if tool == "update_record" else {}
    result = await me.call(tool, table="task", filter=given, returning="id", **data)
    assert next(iter(result.values())) == len(met)
    assert sorted(row["id"] for row in result["records"]) == met
    left = await ids(owner, "version = 1")
    assert left == [n for n in range(1, 10) if n not in met]
    assert await ids(owner) == (list(range(1, 10)) if data else left)


REFUSED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"step.id": 1}, ("FLX102",)),
    ({"id": 1, "step.task_id": "is.null"}, ("FLX102",)),
    ({"step": "is.null"}, ("FLX102", "FLX202")),
    ({"step.or": "(id.eq.1,id.eq.2)"}, ("FLX102",)),
    ({"or": [{"id": 1}, {"step.id": 1}]}, ("FLX102",)),
    ({"nope": 1}, ("FLX202",)),
    ({"id": "1"}, ("FLX102",)),
    ({"id": []}, ("FLX102",)),
    ({"id": {}}, ("FLX102",)),
    ({"and": []}, ("FLX102",)),
    ({"or": {}}, ("FLX102",)),
    ({"and": [{}]}, ("FLX102",)),
    ({"not": {}}, ("FLX102",)),
    ({"not": {"not": {}}}, ("FLX102",)),
    ({"or": [{"id": 1}, {"not": {"not": {}}}]}, ("FLX102",)),
    ({"id": {"not": {}}}, ("FLX102",)),
    ({"id": "eq.one"}, ("FLX602",)),
]


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
@pytest.mark.parametrize(("given", "codes"), REFUSED, ids=lambda v: str(v)[:40])
async def test_a_filter_that_says_nothing_or_of_other_tables_changes_nothing(
    me: Caller, owner: Any, tool: str, given: dict[str, Any], codes: tuple[str, ...]
) -> None:
    data = {"data": {"version": 50}} if tool == "update_record" else {}
    error = await refused(me, tool, table="task", filter=given, **data)
    assert error.code in codes
    assert await ids(owner, "version = 1") == list(range(1, 10))


@pytest.mark.parametrize("most", [0, -1, 1_000_001, "many", None])
async def test_a_limit_of_affected_rows_that_is_none_is_refused(me: Caller, most: Any) -> None:
    call: dict[str, Any] = {"table": "task", "filter": {"id": 1}, "max_affected": most}
    assert (await refused(me, "delete_record", **call)).code == "FLX101"


# A dry run.

TRIES: list[tuple[str, dict[str, Any]]] = [
    ("insert_record", {"data": [{"id": 50}, {"id": 51, "title": "x"}]}),
    ("insert_record", {"data": {"id": 1, "title": "x"}, "on_conflict": "id"}),
    ("update_record", {"data": {"title": "x"}, "filter": {"id": "lt.4"}}),
    ("delete_record", {"filter": {"id": "lt.4"}}),
]


@pytest.mark.parametrize(("tool", "call"), TRIES)
async def test_a_dry_run_leaves_nothing_behind(
    me: Caller, owner: Any, tool: str, call: dict[str, Any]
) -> None:
    before, counts = await ids(owner, "title LIKE 'task%'"), tuple(await owner.fetchrow(COUNTS))
    result = await me.call(tool, table="task", **call, dry_run=True, idempotency_key="dry")
    real = await me.call(tool, table="task", **call)
    assert result == {**real, "dry_run": True}
    await owner.execute(ROWS)
    assert await ids(owner, "title LIKE 'task%'") == before
    # The real one leaves what takes it back, and used no key.
    assert tuple(await owner.fetchrow(COUNTS)) == (counts[0] + 1, counts[1])


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("insert_record", {"data": {"id": 50, "next_id": 999}}, "task_next"),
    ("insert_record", {"data": [{"id": 50, "place": 1}, {"id": 51, "place": 1}]}, "task_place"),
    ("update_record", {"data": {"next_id": 999}, "filter": {"id": 1}}, "task_next"),
    ("delete_record", {"filter": {"id": 1}}, "task_next"),
]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("tool", "call", "rule"), BROKEN)
async def test_rules_that_are_checked_at_the_end_refuse_a_dry_run_as_they_do_a_write(
    me: Caller, owner: Any, tool: str, call: dict[str, Any], rule: str, dry_run: bool
) -> None:
    await owner.execute("UPDATE public.task SET next_id = 1 WHERE id = 2")
    counts = tuple(await owner.fetchrow(COUNTS))
    error = await refused(me, tool, table="task", **call, dry_run=dry_run)
    assert (error.code, f"({rule})" in error.message) == ("FLX601", True)
    assert tuple(await owner.fetchrow(COUNTS)) == counts
    assert await ids(owner) == list(range(1, 10))


async def test_what_is_whole_at_the_end_may_be_broken_in_between(me: Caller, owner: Any) -> None:
    await owner.execute("UPDATE public.task SET place = id")
    data = [{"id": 50, "next_id": 51}, {"id": 51, "title": "x"}]
    for dry_run in (True, False):
        result = await me.call("insert_record", table="task", data=data, dry_run=dry_run)
        assert result["inserted"] == 2
    assert await ids(owner, "next_id = 51") == [50]


async def test_a_dry_run_is_recorded_as_a_call_that_changed_no_rows(
    me: Caller, callers: dict[str, Caller], owner: Any
) -> None:
    writer = callers["writer"]
    await writer.call("delete_record", table="task", filter={"id": 1}, dry_run=True)
    question = (
        "SELECT id, action, outcome, rows FROM platform.audit "
        "WHERE principal = $1 AND target = 'public.task'"
    )
    rows = await until_found(owner, question, writer.id)
    [row] = rows
    assert (row["action"], row["outcome"]) == ("delete_record", "ok")
    assert not row["rows"]
    kept = "SELECT count(*) FROM platform.undo WHERE audit_id = $1"
    assert await owner.fetchval(kept, row["id"]) == 0


# Rows as the caller last saw them.


async def change(caller: Caller, match: Any, **more: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"data": {"version": 2}, "filter": {"id": 1}, **more}
    return await caller.call("update_record", table="task", if_match=match, **call)


MATCHES: list[dict[str, Any]] = [
    {},
    {"version": 1},
    {"version": 1, "title": "task 1", "size": 1},
    {"done": False, "version": 1},
    {"next_id": None},
    {"stamp": "2026-01-02T00:00:00+00:00"},
    {"title": "task 1"},
    {"meta->deep->>k": "v1"},
    {"meta": {"deep": {"k": "v1"}, "n": 1.0}},
    {"tags": ["t1", "all"], "span": "[1,4)"},
]
STALE: list[dict[str, Any]] = [
    {"version": 0},
    {"version": 1, "title": "task 2"},
    {"version": 0, "title": "task 1"},
    {"done": True},
    {"done": None},
    {"next_id": 5},
    {"title": "eq.task 1"},
    {"title": "task%"},
    {"meta": {"n": 1}},
    {"tags": ["all", "t1"]},
]


@pytest.mark.parametrize("match", MATCHES, ids=str)
@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
async def test_a_row_as_it_was_seen_is_written(
    me: Caller, owner: Any, tool: str, match: dict[str, Any]
) -> None:
    data = {"data": {"version": 2}} if tool == "update_record" else {}
    call: dict[str, Any] = {"filter": {"id": 1}, "if_match": match, **data}
    result = await me.call(tool, table="task", **call)
    assert next(iter(result.values())) == 1
    assert await ids(owner, "version = 1") == list(range(2, 10))


@pytest.mark.parametrize("match", STALE, ids=str)
@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
async def test_a_row_that_is_no_longer_as_it_was_seen_is_left_alone(
    me: Caller, owner: Any, tool: str, match: dict[str, Any]
) -> None:
    data = {"data": {"version": 2}} if tool == "update_record" else {}
    call: dict[str, Any] = {"filter": {"id": 1}, "if_match": match, **data}
    error = await refused(me, tool, table="task", **call)
    assert error.code == "FLX506"
    assert "1 of 1" in error.message
    assert await ids(owner, "version = 1") == list(range(1, 10))


async def test_one_stale_row_of_many_keeps_all_from_being_changed(me: Caller, owner: Any) -> None:
    await owner.execute("UPDATE public.task SET version = 2 WHERE id = 5")
    error = await refused(
        me, "delete_record", table="task", filter={"id": "lt.9"}, if_match={"version": 1}
    )
    assert (error.code, "1 of 8" in error.message) == ("FLX506", True)
    assert await ids(owner) == list(range(1, 10))


async def test_no_row_at_all_is_no_conflict(me: Caller) -> None:
    assert (await change(me, {"version": 1}, filter={"id": 99}))["updated"] == 0


@pytest.mark.parametrize(
    ("match", "codes", "named"),
    [
        ({"nope": 1}, ("FLX202",), "if_match.nope"),
        ({"step.id": 1}, ("FLX102", "FLX202"), "if_match"),
        ({"owner.version": 99}, ("FLX102", "FLX202"), "if_match"),
        ({"or": 1}, ("FLX102", "FLX202"), "if_match"),
        ({"not": 1}, ("FLX102", "FLX202"), "if_match"),
        ({"heavy": "eq.true"}, ("FLX602",), "if_match.heavy"),
        ({"version": {"eq": 1}}, ("FLX102",), "if_match.version"),
        ({"version": [1]}, ("FLX102",), "if_match.version"),
        ({"version": "one"}, ("FLX602",), "if_match.version"),
        ({"title": "a\x00b"}, ("FLX102",), "if_match.title"),
    ],
)
async def test_what_cannot_be_expected_of_a_row_is_refused_rather_than_left_out(
    me: Caller, owner: Any, match: dict[str, Any], codes: tuple[str, ...], named: str
) -> None:
    call: dict[str, Any] = {"data": {"version": 2}, "filter": {"id": 1}, "if_match": match}
    error = await refused(me, "update_record", table="task", **call)
    assert error.code in codes
    assert named in error.message
    assert await ids(owner, "version = 1") == list(range(1, 10))


async def test_rows_that_may_be_seen_but_not_changed_are_told_as_a_conflict(
    me: Caller, owner: Any
) -> None:
    # Nobody can say whether such a row is as expected and hidden from the change, or was changed.
    call: dict[str, Any] = {"table": "lent", "data": {"size": 2}, "filter": {"id": "in.(1,2)"}}
    error = await refused(me, "update_record", **call, if_match={"size": 1})
    assert error.code == "FLX506"
    sizes = await owner.fetch("SELECT owner::text, size FROM public.lent ORDER BY id")
    assert [tuple(r) for r in sizes] == [(USER1, 1), (USER2, 1)]


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
async def test_of_many_at_once_who_saw_one_version_exactly_one_wins(
    me: Caller, owner: Any, tool: str
) -> None:
    many = 12
    barrier = asyncio.Barrier(many)

    async def race(number: int) -> str:
        data = {"data": {"version": 2, "title": f"by {number}"}} if tool[0] == "u" else {}
        call: dict[str, Any] = {"filter": {"id": 1}, "if_match": {"version": 1}, **data}
        await barrier.wait()
        try:
            done = await me.call(tool, table="task", **call)
        except Refused as error:
            return error.code
        return f"by {number}" if next(iter(done.values())) else "nothing there"

    ends = await asyncio.gather(*(race(n) for n in range(many)))
    [winner] = [end for end in ends if end.startswith("by")]
    assert set(ends) - {winner} <= {"FLX506", "nothing there"}
    titles = await owner.fetch("SELECT title, version FROM public.task WHERE id = 1")
    assert [tuple(r) for r in titles] == ([(winner, 2)] if tool == "update_record" else [])


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
async def test_a_row_changed_while_the_write_waits_for_it_is_a_conflict(
    me: Caller, owner: Any, tool: str
) -> None:
    data = {"data": {"size": 2}} if tool == "update_record" else {}
    call: dict[str, Any] = {"filter": {"id": 1}, "if_match": {"version": 1}, **data}
    async with owner.transaction():
        await owner.execute("UPDATE public.task SET version = 2, title = 'other' WHERE id = 1")
        writing = asyncio.create_task(refused(me, tool, table="task", **call))
        await until_waiting(owner)
    assert (await writing).code == "FLX506"
    assert await ids(owner, "title = 'other' AND size = 1") == [1]


async def test_a_write_is_audited_with_the_rows_it_changed(me: Caller, owner: Any) -> None:
    await me.call("update_record", table="task", data={"size": 0}, filter={"id": "lt.4"})
    row = await traced(owner)
    assert (row["action"], row["target"], row["outcome"]) == ("update_record", "public.task", "ok")
    assert (row["rows"], row["principal"], row["audit_id"]) == (3, me.id, row["id"])


async def until_found(owner: Connection[Record], question: str, *given: Any) -> list[Record]:
    """Return the rows of a question once there are any."""
    async with asyncio.timeout(10):
        while True:
            rows = await owner.fetch(question, *given)
            if rows:
                return rows
            await asyncio.sleep(0.02)
