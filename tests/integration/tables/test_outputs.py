"""json, columns and csv carry the same rows, within the same limits; and what counts say."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.db.database import Database
from tests.integration.tables.own_tables import open_to_all, refused, tables, until_known
from tests.security.conftest import server_on
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from fluxbase.app.backend import Backend

WIDE = 150
MADE = f"""
CREATE TABLE public.sheet (id integer PRIMARY KEY, words text, other text, amount numeric,
  ok boolean, seen timestamptz, tags text[], meta jsonb, "odd, ""na""me" text);
CREATE TABLE public.line (id integer PRIMARY KEY, sheet_id integer REFERENCES public.sheet,
  body text);
CREATE TABLE public.wide (id integer PRIMARY KEY,
  {", ".join(f'"c {n}" text' for n in range(WIDE))});
CREATE TABLE public.crowd (id integer PRIMARY KEY, owner uuid NOT NULL, size integer);
ALTER TABLE public.crowd ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.crowd USING (owner = (SELECT auth.uid()));
GRANT SELECT ON public.crowd TO authenticated;
"""
NAMES = ("line", "sheet", "wide", "crowd")
WORDS = [
    None, "", " ", "plain", "a,b", 'say "hi"', '"', '""', "two\nlines", "\r\n", "\r", "\n", "tab\t",
    "NULL", "null", "\\N", "☃😀é", "\u2028", "{}", "=1+1", "'", ";", "a,b\n\"c\"", " lead", "\x01",
]  # fmt: skip
OURS, THEIRS = 10_500, 600


@pytest.fixture(scope="module")
async def made(owner: Connection[Record]) -> AsyncGenerator[None]:
    async with tables(owner, MADE + open_to_all("sheet", "line", "wide"), *NAMES):
        await owner.execute(
            "INSERT INTO public.sheet SELECT n, w, w, n * 1.10, n % 2 = 0, "
            "'2026-01-01T00:00:00Z', ARRAY[w, 'x,y'], jsonb_build_object('w', w), w "
            "FROM unnest($1::text[]) WITH ORDINALITY AS x(w, n)",
            WORDS,
        )
        await owner.execute("INSERT INTO public.line SELECT n, 1 + n / 2, 'b' || n "
                            "FROM generate_series(1, 8) n")  # fmt: skip
        await owner.execute(
            "INSERT INTO public.wide SELECT n, "
            + ", ".join(f"nullif(n * {c} % 7, 0)::text" for c in range(WIDE))
            + " FROM generate_series(1, 20) n"
        )
        for first, many, who in ((1, OURS, USER1), (OURS + 1, THEIRS, USER2)):
            await owner.execute(
                "INSERT INTO public.crowd SELECT n, $1, n % 10 FROM generate_series($2::int, $3) n",
                who, first, first + many - 1,
            )  # fmt: skip
        await owner.execute("ANALYZE public.crowd")
        yield


@pytest.fixture
async def me(made: None, user1: Caller) -> Caller:
    await until_known(user1, "crowd")
    return user1


async def page(caller: Caller, table: str, output: str, **asked: Any) -> dict[str, Any]:
    return await caller.call("query_table", table=table, output=output, **asked)


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def as_csv(value: Any) -> str:
    """Return a JSON value as csv shows it, to csv's own reader."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


SELECTS = [
    "*",
    "words,id",
    "id,w:words,amount::text",
    "id,line(id,body)",
    "id,...line(body)",
    "ok,n:count(),total:amount.sum()",
    'id,"odd, \\"na\\"me"',
    'x:words,"a,b":other,id',
]


@pytest.mark.parametrize("select", SELECTS)
async def test_every_output_carries_the_same_data(me: Caller, select: str) -> None:
    order = "ok" if "count()" in select else "id"
    asked: dict[str, Any] = {"select": select, "order": order}
    plain = await page(me, "sheet", "json", **asked)
    columns = await page(me, "sheet", "columns", **asked)
    text = await page(me, "sheet", "csv", **asked)
    names = list(plain["rows"][0])
    assert columns["columns"] == names
    assert [dict(zip(names, row, strict=True)) for row in columns["rows"]] == plain["rows"]
    head, *lines = read_csv(text["csv"])
    assert head == names
    assert text["rows"] == []
    assert len(lines) == len(plain["rows"])
    for line, row in zip(lines, plain["rows"], strict=True):
        for shown, value in zip(line, row.values(), strict=True):
            if isinstance(value, dict | list | bool | int | float):
                assert json.loads(shown) == value
            else:
                assert shown == as_csv(value)
    for other in (columns, text):
        assert (other["truncated"], other["total"]) == (plain["truncated"], plain["total"])


async def test_csv_tells_an_empty_text_from_none_by_quotes(me: Caller) -> None:
    text = await page(me, "sheet", "csv", select="id,words,ok", filter={"id": "lte.4"}, order="id")
    assert text["csv"] == 'id,words,ok\n1,,false\n2,"",true\n3, ,false\n4,plain,true'


async def test_csv_of_one_column_keeps_the_rows_that_have_nothing_in_it(me: Caller) -> None:
    text = await page(me, "sheet", "csv", select="words", order="id")
    assert len(read_csv(text["csv"])) == 1 + len(WORDS)
    assert all(len(line) == 1 for line in read_csv(text["csv"]))


async def test_no_rows_are_the_names_alone(me: Caller) -> None:
    asked: dict[str, Any] = {"select": "id,words", "filter": {"id": 99}}
    assert (await page(me, "sheet", "csv", **asked))["csv"] == "id,words"
    columns = await page(me, "sheet", "columns", **asked)
    assert (columns["columns"], columns["rows"]) == (["id", "words"], [])


@pytest.mark.parametrize("order", [None, "c 3,id", "id.desc"])
async def test_tables_of_more_columns_than_a_function_takes_come_whole(
    me: Caller, order: str | None
) -> None:
    asked: dict[str, Any] = {} if order is None else {"order": order.replace("c 3", '"c 3"')}
    plain = (await page(me, "wide", "json", **asked))["rows"]
    assert len(plain[0]) == WIDE + 1
    columns = await page(me, "wide", "columns", **asked)
    names = columns["columns"]
    assert names == ["id", *(f"c {n}" for n in range(WIDE))]
    assert [dict(zip(names, row, strict=True)) for row in columns["rows"]] == plain
    head, *lines = read_csv((await page(me, "wide", "csv", **asked))["csv"])
    assert head == names
    assert lines == [[as_csv(value) for value in row.values()] for row in plain]


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
async def test_what_the_model_reads_is_the_rows_alone(me: Caller, output: str) -> None:
    call = {"table": "sheet", "select": "id,words", "order": "id", "output": output}
    result = (await me.rpc("tools/call", name="query_table", arguments=call))["result"]
    text, whole = result["content"][0]["text"], result["structuredContent"]
    if output == "csv":
        assert text == whole["csv"]
    elif output == "columns":
        assert json.loads(text) == {"columns": whole["columns"], "rows": whole["rows"]}
    else:
        assert json.loads(text) == whole["rows"]


# Limits.


def size(answer: dict[str, Any], output: str) -> int:
    """Return the bytes of an answer's rows as Postgres made them."""
    if output == "csv":
        return len(answer["csv"].partition("\n")[2].encode())
    made = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in answer["rows"]]
    return len(",".join(made).encode())


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
@pytest.mark.parametrize("most", [256, 300, 700, 1500])
async def test_rows_beyond_the_bytes_asked_for_come_with_the_next_page(
    me: Caller, output: str, most: int
) -> None:
    asked: dict[str, Any] = {"select": "id,words,meta", "order": "id", "max_bytes": most}
    seen: list[int] = []
    offset = 0
    while True:
        answer = await page(me, "sheet", output, offset=offset, **asked)
        assert size(answer, output) <= most
        if output == "csv":
            ids = [int(line[0]) for line in read_csv(answer["csv"])[1:]]
        else:
            ids = [row["id"] if output == "json" else row[0] for row in answer["rows"]]
        assert ids
        seen += ids
        assert answer["truncated"] == (answer["next_offset"] is not None)
        assert answer["truncated"] == ("next_after" in answer)
        if not answer["truncated"]:
            break
        offset = answer["next_offset"]
        assert offset == len(seen)
    assert seen == list(range(1, len(WORDS) + 1))


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
@pytest.mark.parametrize("limit", [1, len(WORDS) - 1, len(WORDS), len(WORDS) + 1])
async def test_a_page_is_truncated_only_when_there_is_more(
    me: Caller, output: str, limit: int
) -> None:
    answer = await page(me, "sheet", output, select="id", order="id", limit=limit, count="exact")
    more = limit < len(WORDS)
    assert answer["truncated"] is more
    assert answer["next_offset"] == (limit if more else None)
    assert ("next_after" in answer) is more
    assert answer["total"] == len(WORDS)


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
async def test_a_row_larger_than_the_answer_may_be_is_refused_with_what_to_do(
    me: Caller, owner: Any, output: str
) -> None:
    await owner.execute("UPDATE public.line SET body = repeat('x', 5000) WHERE id = 1")
    try:
        asked: dict[str, Any] = {"table": "line", "order": "id", "output": output}
        error = await refused(me, "query_table", **asked, max_bytes=300)
        assert (error.code, "offset 0" in error.message) == ("FLX502", True)
        rest = await me.call("query_table", **asked, max_bytes=300, offset=1)
        assert not rest["truncated"]
    finally:
        await owner.execute("UPDATE public.line SET body = 'b1' WHERE id = 1")


@pytest.mark.parametrize("most", [0, -1, 255, "few"])
async def test_bytes_too_few_for_any_row_are_refused(me: Caller, most: Any) -> None:
    assert (await refused(me, "query_table", table="sheet", max_bytes=most)).code == "FLX101"


async def test_more_bytes_than_the_server_gives_are_the_server_s(
    me: Caller, backend: Backend
) -> None:
    config = backend.config.database.model_copy(update={"max_bytes": 1024})
    database = Database(config, backend.database.logins)
    await database.open()
    try:
        async with server_on(backend, database) as http:
            small = Caller(me.name, me.id, me.key, http)
            answer = await page(small, "sheet", "json", max_bytes=10_000_000)
            assert answer["truncated"]
            assert size(answer, "json") <= 1024
    finally:
        await database.close()


# Counts.


@pytest.mark.parametrize("output", ["json", "columns", "csv"])
@pytest.mark.parametrize("count", ["exact", "estimated"])
async def test_counts_for_client_keys_are_of_their_rows_and_exact(
    me: Caller, user2: Caller, count: str, output: str
) -> None:
    for caller, many in ((me, OURS), (user2, THEIRS)):
        for asked, total in (
            ({}, many),
            ({"filter": {"size": 3}}, many // 10),
            ({"limit": 1, "offset": 50, "order": "id.desc"}, many),
            ({"filter": {"id": -1}}, 0),
            ({"select": "size,id.count()"}, 10),
            ({"after": "", "limit": 2}, many),
        ):
            answer = await page(caller, "crowd", output, count=count, **asked)
            assert answer["total"] == total, asked


async def test_without_a_count_there_is_no_total(me: Caller) -> None:
    assert (await page(me, "crowd", "json"))["total"] is None


async def test_client_keys_get_no_planned_count_but_a_word_of_what_to_do(me: Caller) -> None:
    error = await refused(me, "query_table", table="crowd", count="planned")
    assert error.code == "FLX302"
    said = json.dumps(error.answer)
    assert "exact" in said
    assert "planned_counts" in said
    assert not any(character.isdigit() for character in error.message)


async def test_planned_counts_can_be_opened_to_all(me: Caller, backend: Backend) -> None:
    config = backend.config.database.model_copy(update={"planned_counts": "all"})
    database = Database(config, backend.database.logins)
    await database.open()
    try:
        async with server_on(backend, database) as http:
            caller = Caller(me.name, me.id, me.key, http)
            planned = await page(caller, "crowd", "json", count="planned", limit=1)
            assert planned["total"] > 0
            few = await page(caller, "crowd", "json", count="estimated", filter={"size": 3})
            assert few["total"] == OURS // 10
    finally:
        await database.close()


async def test_service_keys_may_ask_what_postgres_expects(me: Caller, service: Caller) -> None:
    whole = OURS + THEIRS
    planned = await page(service, "crowd", "json", count="planned", limit=1)
    assert abs(planned["total"] - whole) < whole / 2
    assert (await page(service, "crowd", "json", count="exact", limit=1))["total"] == whole
    few = await page(service, "crowd", "json", count="estimated", filter={"size": "lt.9"}, limit=1)
    assert few["total"] == whole * 9 // 10
    many = await page(service, "crowd", "json", count="estimated", limit=1)
    assert abs(many["total"] - whole) < whole / 2


@pytest.mark.parametrize("count", ["planned", "estimated", "exact"])
async def test_a_service_key_counts_with_every_filter_and_embed(
    me: Caller, service: Caller, count: str
) -> None:
    answer = await page(
        service, "sheet", "json", count=count, select="id,line!inner(id)",
        filter={"or": "(id.lt.3,words.is.null)", "line.id": "gt.0"}, order="id", offset=1, limit=1,
    )  # fmt: skip
    assert answer["total"] >= 0
    if count != "planned":
        assert answer["total"] == 2
