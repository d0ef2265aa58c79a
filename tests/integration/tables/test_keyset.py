"""Pages by `after`: every row exactly once, however rows are sorted, whoever writes meanwhile."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.tables.keyset_cases import MANY, SORTED, SQL_WAYS, TEXTS, WAYS, one
from tests.integration.tables.own_tables import open_to_all, refused, tables, until_known

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from tests.world import Caller

MADE = """
CREATE TYPE public.sort AS ENUM ('small', 'large', 'odd');
CREATE TABLE public.stone (
  id integer PRIMARY KEY,
  grade integer,
  rank integer NOT NULL,
  label text,
  coded text COLLATE "C" NOT NULL,
  weight numeric,
  ratio double precision,
  slim real,
  seen timestamptz,
  day date,
  mark uuid,
  sort public.sort,
  flag boolean,
  span interval,
  bits bytea,
  tags integer[],
  net inet,
  meta jsonb,
  raw json
);
CREATE FUNCTION public.bulk(s public.stone) RETURNS numeric LANGUAGE sql STABLE
  AS $$ SELECT s.weight * nullif(s.grade, 3) $$;
CREATE TABLE public.pebble (a text, b uuid, c integer, note text, PRIMARY KEY (a, b, c));
CREATE TABLE public.loose (note text);
CREATE TABLE public.maybe (note text UNIQUE);
CREATE TABLE public.sure (note text NOT NULL UNIQUE, other integer);
CREATE TABLE public.heap (id integer PRIMARY KEY, stone_id integer REFERENCES public.stone,
  long text);
"""
NAMES = ("heap", "stone", "pebble", "loose", "maybe", "sure")


async def put(owner: Connection[Record], rows: list[dict[str, Any]]) -> None:
    await owner.execute(
        "INSERT INTO public.stone SELECT * FROM json_populate_recordset(NULL::public.stone, $1)",
        json.dumps(rows),
    )


@pytest.fixture(scope="module")
async def made(owner: Connection[Record]) -> AsyncGenerator[None]:
    async with tables(owner, MADE + open_to_all(*NAMES), *NAMES):
        luck = random.Random(5)  # noqa: S311 - the same rows every time
        await put(owner, [one(n, luck) for n in range(MANY)])
        await owner.execute(
            "INSERT INTO public.pebble SELECT DISTINCT ON (1, 2, 3) t, md5((n % 5)::text)::uuid, "
            "n % 3, 'n' || n FROM unnest($1::text[]) t, generate_series(1, 9) n",
            TEXTS,
        )
        await owner.execute("INSERT INTO public.heap SELECT n, n FROM generate_series(0, 9) n")
        yield
    await owner.execute("DROP TYPE public.sort")


@pytest.fixture
async def me(made: None, user1: Caller) -> Caller:
    await until_known(user1, "heap")
    return user1


async def walk(caller: Caller, limit: int, **asked: Any) -> list[dict[str, Any]]:
    """Return all rows, page by page."""
    found: list[dict[str, Any]] = []
    after = ""
    for _ in range(2 * MANY):
        page = await caller.call("query_table", limit=limit, after=after, **asked)
        found += page["rows"]
        assert page["next_offset"] is None
        assert page["truncated"] == ("next_after" in page)
        if not page["truncated"]:
            return found
        assert page["rows"]
        after = page["next_after"]
    pytest.fail("the pages do not end")


async def in_order(owner: Connection[Record], order: list[tuple[str, str]]) -> list[int]:
    """Return the ids as Postgres itself sorts them."""
    terms = [SORTED[name] + SQL_WAYS[way] for name, way in order]
    found = await owner.fetch(f"SELECT id FROM public.stone t ORDER BY {', '.join([*terms, 'id'])}")
    return [row["id"] for row in found]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SORTED)
async def test_rows_sorted_by_one_value_come_once_and_in_order(
    me: Caller, owner: Any, name: str, way: str
) -> None:
    found = await walk(me, 23, table="stone", select="id", order=name + way)
    assert [row["id"] for row in found] == await in_order(owner, [(name, way)])


ORDERS = st.lists(
    st.tuples(st.sampled_from(list(SORTED)), st.sampled_from(WAYS)), min_size=1, max_size=4
)


@given(order=ORDERS, limit=st.integers(3, 90))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_any_order_shows_every_row_once_and_in_order(
    me: Caller, owner: Any, order: list[tuple[str, str]], limit: int
) -> None:
    text = ",".join(name + way for name, way in order)
    found = await walk(me, limit, table="stone", select="id", order=text)
    assert [row["id"] for row in found] == await in_order(owner, order)


@pytest.mark.parametrize("way", WAYS)
async def test_a_null_within_json_as_the_last_of_a_place_is_gone_past(
    me: Caller, owner: Any, way: str
) -> None:
    found = await walk(me, 3, table="stone", select="id", order=f"id,meta->>k{way}")
    assert [row["id"] for row in found] == list(range(MANY))


@pytest.mark.parametrize("order", [None, "c", "a.desc", "b.desc,a", "note.desc", "c.desc,b,a.desc"])
async def test_rows_with_a_key_of_several_columns_come_once(
    me: Caller, owner: Any, order: str | None
) -> None:
    more = {} if order is None else {"order": order}
    found = await walk(me, 7, table="pebble", **more)
    keys = [(row["a"], row["b"], row["c"]) for row in found]
    assert len(keys) == len(set(keys)) == await owner.fetchval("SELECT count(*) FROM public.pebble")
    if order is not None:
        assert found == await me.rows("pebble", order=order, limit=1000)


async def test_the_values_sorted_by_need_not_be_selected_nor_show(me: Caller) -> None:
    page = await me.call("query_table", table="stone", select="rank", order="label,id", after="")
    assert {tuple(row) for row in page["rows"]} == {("rank",)}


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
async def test_every_output_goes_on_where_it_ended(me: Caller, output: str) -> None:
    call: dict[str, Any] = {"table": "stone", "select": "id,heap(id)", "order": "grade.desc"}
    ids: list[int] = []
    after = ""
    while True:
        page = await me.call("query_table", **call, limit=70, after=after, output=output)
        if output == "csv":
            ids += [int(line.split(",")[0]) for line in page["csv"].splitlines()[1:]]
        else:
            ids += [row["id"] if output == "json" else row[0] for row in page["rows"]]
        if "next_after" not in page:
            break
        after = page["next_after"]
    assert sorted(ids) == list(range(MANY))


async def test_a_page_cut_by_its_bytes_goes_on_after_its_last_row(me: Caller) -> None:
    found = await walk(me, 100, table="stone", select="id,meta", order="rank", max_bytes=400)
    assert sorted(row["id"] for row in found) == list(range(MANY))


async def test_a_sorted_page_by_offset_tells_where_to_go_on_too(me: Caller) -> None:
    first = await me.call("query_table", table="stone", select="id", order="label", limit=50)
    rest = await me.call(
        "query_table", table="stone", select="id", order="label", limit=1000,
        after=first["next_after"],
    )  # fmt: skip
    ids = [row["id"] for row in first["rows"] + rest["rows"]]
    assert sorted(ids) == list(range(MANY))
    assert first["next_offset"] == 50


@pytest.mark.parametrize("order", ["grade", "flag.desc", "rank,flag.nullsfirst", "sort.desc"])
async def test_offsets_skip_and_repeat_no_row_of_equal_ones(
    me: Caller, owner: Any, order: str
) -> None:
    ids: list[int] = []
    for offset in range(0, MANY, 9):
        ids += [
            row["id"]
            for row in await me.rows("stone", select="id", order=order, limit=9, offset=offset)
        ]
    assert sorted(ids) == list(range(MANY))


@pytest.mark.parametrize("order", ["rank.desc,grade", "label.nullsfirst", "coded"])
async def test_rows_that_stay_are_seen_once_while_others_come_and_go(
    me: Caller, owner: Any, order: str
) -> None:
    luck = random.Random(7)  # noqa: S311 - the same rows every time
    await owner.execute("DELETE FROM public.heap")
    stay, seen, after, new = set(range(MANY)), list[int](), "", 1000
    try:
        while True:
            page = await me.call(
                "query_table", table="stone", select="id", order=order, limit=15, after=after
            )
            seen += [row["id"] for row in page["rows"]]
            if "next_after" not in page:
                break
            after = page["next_after"]
            # The last row of the page goes too: the cursor must not need it.
            going = [page["rows"][-1]["id"], *luck.sample(sorted(stay), 3)]
            await owner.execute("DELETE FROM public.stone WHERE id = ANY ($1)", going)
            stay -= set(going)
            await put(owner, [one(new + n, luck) for n in range(4)])
            new += 4
        assert len(seen) == len(set(seen))
        assert stay <= set(seen)
    finally:
        await owner.execute("DELETE FROM public.stone")
        luck = random.Random(5)  # noqa: S311
        await put(owner, [one(n, luck) for n in range(MANY)])
        await owner.execute("INSERT INTO public.heap SELECT n, n FROM generate_series(0, 9) n")


async def test_a_long_value_in_the_sorting_does_not_end_the_pages(me: Caller, owner: Any) -> None:
    await owner.execute("UPDATE public.heap SET long = repeat('é', 40000) || id")
    found = await walk(me, 3, table="heap", select="id", order="long.desc")
    assert [row["id"] for row in found] == list(range(9, -1, -1))


# Cursors that are none.


async def cursor_of(caller: Caller, **asked: Any) -> str:
    call: dict[str, Any] = {"table": "stone", "order": "grade.desc,label", **asked}
    return (await caller.call("query_table", limit=5, **call))["next_after"]


def decoded(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


async def test_a_cursor_of_another_table_or_order_is_refused(me: Caller) -> None:
    cursors = [
        await cursor_of(me, table="pebble", order="note"),
        await cursor_of(me, order="grade,label"),
        await cursor_of(me, order="grade.desc"),
        await cursor_of(me, order="grade.desc,label,id.desc"),
        await cursor_of(me, order="grade.desc.nullslast,label"),
        await cursor_of(me, order="label,grade.desc"),
        await cursor_of(me, order="meta->k,label"),
        await cursor_of(me, order="meta->>k,label"),
    ]
    for cursor in cursors:
        error = await refused(
            me, "query_table", table="stone", order="grade.desc,label", after=cursor
        )
        assert (error.code, "after" in error.message) == ("FLX102", True)


async def test_a_cursor_cut_short_or_made_up_is_refused(me: Caller) -> None:
    cursor = await cursor_of(me)
    mark = decoded(cursor)[:12]
    wrong = [
        *(cursor[:length] for length in range(1, len(cursor))),
        "x", "====", "☃", "\x00", " " + cursor, cursor + "A", "A" * 1_000_000,
        *(
            encoded(mark + values)
            for values in (
                "", "[]", "{}", "null", '"x"', '["1"]', '["1", "a", "2", "3"]', '[1, "a", "2"]',
                '["1", "a", ["2"]]', '["1", "a", {}]', '["1", "a", true]', '["1", "a", "2"]]',
                '["one", "a", "2"]', '["1", "a", "two"]', '["1", "a\\u0000", "2"]',
                '["1", "a", "99999999999999999999"]', '["1", "\\ud800", "2"]', "[" * 5000,
            )
        ),
    ]  # fmt: skip
    for after in wrong:
        call: dict[str, Any] = {"table": "stone", "order": "grade.desc,label", "after": after}
        answer = await me.rpc("tools/call", name="query_table", arguments=call)
        assert answer["result"]["isError"], after[:200]
        assert answer["result"]["_meta"]["fluxbase/error"]["code"] == "FLX102", after[:200]


async def test_a_cursor_with_any_letter_changed_is_refused_or_another_place(me: Caller) -> None:
    cursor = await cursor_of(me)
    call: dict[str, Any] = {"table": "stone", "select": "id", "order": "grade.desc,label"}
    for place, letter in enumerate(cursor):
        after = cursor[:place] + ("A" if letter != "A" else "B") + cursor[place + 1 :]
        answer = await me.rpc("tools/call", name="query_table", arguments={**call, "after": after})
        if answer["result"]["isError"]:
            assert answer["result"]["_meta"]["fluxbase/error"]["code"] == "FLX102", after


@pytest.mark.parametrize("value", ["' OR true --", "1) OR (1=1", "$1", "{1}"])
async def test_a_value_in_a_cursor_is_never_sql(me: Caller, value: str) -> None:
    cursor = await cursor_of(me, order="coded")
    forged = encoded(decoded(cursor)[:12] + json.dumps([value, "1"]))
    rows = await me.rows("stone", select="coded", order="coded", after=forged, limit=1000)
    assert all(row["coded"].encode() >= value.encode() for row in rows)


async def test_a_null_in_a_cursor_where_none_can_be_shows_nothing_more(me: Caller) -> None:
    cursor = await cursor_of(me)
    forged = encoded(decoded(cursor)[:12] + "[null, null, null]")
    rows = await me.rows("stone", order="grade.desc,label", after=forged, limit=1000)
    assert len(rows) < MANY


@pytest.mark.parametrize(
    ("table", "asked"),
    [
        ("heap", {"select": "id,stone(rank)", "order": "stone(rank)"}),
        ("stone", {"select": "rank,id.count()"}),
        ("stone", {"select": "rank,id.count()", "order": "rank"}),
        ("stone", {"select": "count()"}),
        ("loose", {}),
        ("loose", {"order": "note"}),
        ("maybe", {"order": "note"}),
        ("my_notes", {"order": "title"}),
    ],
)
async def test_what_has_no_place_to_go_on_from_is_refused_with_what_to_do(
    me: Caller, table: str, asked: dict[str, Any]
) -> None:
    error = await refused(me, "query_table", table=table, after="", **asked)
    assert error.code == "FLX102"
    assert "after" in error.message
    assert "offset" in json.dumps(error.answer)


async def test_a_unique_column_that_is_never_null_serves_as_a_key(me: Caller, owner: Any) -> None:
    await owner.execute(
        "INSERT INTO public.sure SELECT t, n % 2 FROM unnest($1::text[]) WITH ORDINALITY x(t, n)",
        TEXTS,
    )
    found = await walk(me, 4, table="sure", order="other.desc")
    assert sorted(row["note"] for row in found) == sorted(TEXTS)


async def test_pages_show_each_caller_its_own_rows(user1: Caller, user2: Caller) -> None:
    for caller, many in ((user1, 10), (user2, 7)):
        found = await walk(caller, 3, table="notes", select="id,user_id", order="done,rank.desc")
        assert len({row["id"] for row in found}) == len(found) == many
    page = await user1.call("query_table", table="notes", order="rank", limit=3)
    theirs = await user2.rows("notes", order="rank", after=page["next_after"])
    # Their row of rank 3 has the greater id, so it stands behind the place.
    assert [row["rank"] for row in theirs] == [3, 4, 5, 6, 7]
