"""Writes to every kind of table: partitions, views, generated columns, names as our SQL uses."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.tables.own_tables import (
    open_to_all,
    tables,
    traced,
    until_known,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from tests.world import Caller

# Whatever our statements call their parts, a column may be called too.
ALIASES = [
    "old", "new", "was", "written", "before", "input", "input0", "written0", "kept", "bytes", "one",
    "role", "t", "t1", "c0", "k0", "j", "k", "l", "n", "p", "q", "r", "s", "w", "x", "b",
]  # fmt: skip
MADE = f"""
CREATE TABLE public.alias (id integer PRIMARY KEY, {", ".join(f'"{a}" integer' for a in ALIASES)});
CREATE TABLE public.split (id integer PRIMARY KEY, size integer) PARTITION BY RANGE (id);
CREATE TABLE public.split_low PARTITION OF public.split FOR VALUES FROM (0) TO (10);
CREATE TABLE public.split_high PARTITION OF public.split FOR VALUES FROM (10) TO (20);
CREATE TABLE public.made (id integer PRIMARY KEY, size integer,
  kept integer GENERATED ALWAYS AS (size + 1) STORED,
  live integer GENERATED ALWAYS AS (size + 2) VIRTUAL);
CREATE TABLE public.below (id integer PRIMARY KEY, size integer, hidden text DEFAULT 'h');
CREATE VIEW public.above WITH (security_invoker = true) AS
  SELECT id, size FROM public.below WHERE size < 100 WITH CHECK OPTION;
CREATE VIEW public.instead WITH (security_invoker = true) AS SELECT id, size FROM public.below;
CREATE FUNCTION public.do_instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO public.below VALUES (NEW.id, NEW.size * 2); NEW.size := NEW.size * 2; RETURN NEW;
  ELSIF TG_OP = 'UPDATE' THEN
    UPDATE public.below SET size = NEW.size WHERE id = OLD.id; RETURN NEW;
  END IF;
  DELETE FROM public.below WHERE id = OLD.id; RETURN OLD;
END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON public.instead
  FOR EACH ROW EXECUTE FUNCTION public.do_instead();
GRANT ALL ON public.above, public.instead TO authenticated;
"""
NAMES = ("alias", "split", "made", "below")


@pytest.fixture(scope="module")
async def made(owner: Connection[Record]) -> AsyncGenerator[None]:
    async with tables(owner, MADE + open_to_all(*NAMES), *NAMES):
        yield
    await owner.execute("DROP FUNCTION public.do_instead")


@pytest.fixture
async def me(made: None, user1: Caller, owner: Connection[Record]) -> Caller:
    await owner.execute("TRUNCATE public.alias, public.split, public.made, public.below")
    await until_known(user1, "instead")
    return user1


async def write(caller: Caller, owner: Any, tool: str, table: str, **call: Any) -> dict[str, Any]:
    """Write, and return what came back and what was kept of it."""
    done = await caller.call(f"{tool}_record", table=table, **call)
    kept = await traced(owner)
    assert kept["rows"] == next(iter(done.values()))
    before, inserted = kept["before"], kept["inserted"]
    return {
        "records": done["records"],
        "before": None if before is None else json.loads(before),
        "inserted": None if inserted is None else json.loads(inserted),
        "complete": kept["complete"],
    }


async def test_columns_called_as_parts_of_our_statements_are_written_like_any(
    me: Caller, owner: Any
) -> None:
    first = {"id": 1, **{name: place for place, name in enumerate(ALIASES)}}
    second = {name: value + 100 if name != "id" else 1 for name, value in first.items()}
    third = {**second, "was": 7, "new": 8, "input": 9}
    call: dict[str, Any] = {"table": "alias"}
    assert (await write(me, owner, "insert", **call, data=first))["records"] == [first]
    done = await write(me, owner, "insert", **call, data=second, on_conflict="id")
    assert (done["records"], done["before"]) == ([second], [first])
    data = {"was": 7, "new": 8, "input": 9}
    found = {"old": second["old"], "k": second["k"], "or": [{"t1": second["t1"]}, {"j": 0}]}
    done = await write(
        me, owner, "update", **call, data=data, filter=found, if_match={"was": second["was"]}
    )
    assert (done["records"], done["before"]) == ([third], [second])
    done = await write(me, owner, "delete", **call, filter={"new": 8})
    assert (done["records"], done["before"]) == ([third], [third])


async def test_rows_of_partitions_are_kept_though_they_move(me: Caller, owner: Any) -> None:
    call: dict[str, Any] = {"table": "split"}
    data = [{"id": 1, "size": 1}, {"id": 12}, {"id": 3, "size": 3}]
    done = await write(me, owner, "insert", **call, data=data)
    assert [row["id"] for row in done["records"]] == [1, 12, 3]
    assert sorted(key["id"] for key in done["inserted"]) == [1, 3, 12]
    done = await write(me, owner, "update", **call, data={"id": 15}, filter={"id": 1})
    assert (done["records"], done["before"]) == ([{"id": 15, "size": 1}], [{"id": 1, "size": 1}])
    assert (done["inserted"], done["complete"]) == ([{"id": 15}], True)
    data = [{"id": 15, "size": 9}, {"id": 2}]
    done = await write(me, owner, "insert", **call, data=data, on_conflict="id")
    assert (done["before"], done["inserted"]) == ([{"id": 15, "size": 1}], [{"id": 2}])
    done = await write(me, owner, "delete", **call, filter={"id": "gte.10"})
    assert sorted(row["id"] for row in done["before"]) == [12, 15]


async def test_generated_columns_come_back_as_they_are_after_and_are_kept_as_before(
    me: Caller, owner: Any
) -> None:
    await write(me, owner, "insert", "made", data={"id": 1, "size": 1})
    one = {"id": 1, "size": 1, "kept": 2, "live": 3}
    five = {"id": 1, "size": 5, "kept": 6, "live": 7}
    done = await write(me, owner, "insert", "made", data={"id": 1, "size": 5}, on_conflict="id")
    assert (done["records"], done["before"]) == ([five], [one])
    done = await write(me, owner, "update", "made", data={"size": 1}, filter={"live": 7})
    assert (done["records"], done["before"]) == ([one], [five])


@pytest.mark.parametrize("view", ["above", "instead"])
async def test_what_is_written_through_a_view_is_not_said_to_be_kept_whole(
    me: Caller, owner: Any, view: str
) -> None:
    done = await write(me, owner, "insert", view, data=[{"id": 1, "size": 1}, {"id": 2, "size": 2}])
    sizes = [row["size"] for row in done["records"]]
    assert sizes == ([2, 4] if view == "instead" else [1, 2])
    assert done["complete"] is False
    done = await write(me, owner, "update", view, data={"size": 9}, filter={"id": 1})
    assert done["before"] == [{"id": 1, "size": sizes[0]}]
    assert done["complete"] is False
    done = await write(me, owner, "delete", view, filter={"id": "gt.0"})
    # The rows below had one more column, which nobody saw.
    assert len(done["before"]) == 2
    assert done["complete"] is False
    assert await owner.fetchval("SELECT count(*) FROM public.below") == 0


async def test_of_many_upserts_of_one_key_at_once_one_inserts_and_all_are_done(
    me: Caller, owner: Any
) -> None:
    last = await owner.fetchval("SELECT coalesce(max(audit_id), 0) FROM platform.undo")
    many = 10
    barrier = asyncio.Barrier(many)

    async def upsert(number: int) -> int:
        await barrier.wait()
        data = {"id": 5, "size": number}
        call: dict[str, Any] = {"table": "split", "data": data, "on_conflict": "id"}
        return (await me.call("insert_record", **call))["inserted"]

    assert await asyncio.gather(*(upsert(n) for n in range(many))) == [1] * many
    kept = await owner.fetch(
        "SELECT before::text, inserted::text FROM platform.undo WHERE audit_id > $1", last
    )
    assert len(kept) == many
    assert sum(len(json.loads(row["inserted"])) for row in kept) == 1
    # Each overwrote what another had left, so together they tell every value but the last.
    sizes = [row["size"] for entry in kept for row in json.loads(entry["before"] or "[]")]
    left = await owner.fetchval("SELECT size FROM public.split")
    assert sorted([*sizes, left]) == list(range(many))
