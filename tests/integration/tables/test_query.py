"""query_table and count_records: what is asked is what comes back, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.tables import reading
from tests.world import Refused

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from tests.world import Caller


async def test_the_text_block_is_a_bare_array_and_the_envelope_is_structured(
    user1: Caller,
) -> None:
    answer = await user1.rpc(
        "tools/call",
        name="query_table",
        arguments={"table": "notes", "select": "id,title", "order": "id", "limit": 2},
    )
    assert answer["result"]["content"] == [
        {
            "type": "text",
            "text": '[{"id":1,"title":"user1 note 1"},{"id":2,"title":"user1 note 2"}]',
        }
    ]
    assert answer["result"]["isError"] is False
    structured = answer["result"]["structuredContent"]
    assert structured.pop("next_after")
    assert structured == {
        "rows": [{"id": 1, "title": "user1 note 1"}, {"id": 2, "title": "user1 note 2"}],
        "truncated": True,
        "next_offset": 2,
        "total": None,
    }


async def test_no_rows_are_an_empty_array(user1: Caller) -> None:
    page = await user1.call("query_table", table="notes", filter={"id": 999})
    assert page == {"rows": [], "truncated": False, "next_offset": None, "total": None}


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({"rank": "eq.3"}, [3]),
    ({"rank": 3}, [3]),
    ({"rank": "neq.3"}, [1, 2, 4, 5, 6, 7, 8, 9, 10]),
    ({"rank": "gt.8"}, [9, 10]),
    ({"rank": "gte.8"}, [8, 9, 10]),
    ({"rank": "lt.3"}, [1, 2]),
    ({"rank": "lte.3"}, [1, 2, 3]),
    ({"rank": ["gte.3", "lt.5"]}, [3, 4]),
    ({"rank": {"gte": 3, "lt": 5}}, [3, 4]),
    ({"rank": [{"gte": 3}, "lt.5"]}, [3, 4]),
    ({"rank": "not.lt.9"}, [9, 10]),
    ({"rank": {"not": {"lt": 9}}}, [9, 10]),
    ({"rank": "gte.3", "done": "is.true"}, [4, 6, 8, 10]),
    ({"done": True, "rank": "lt.5"}, [2, 4]),
    ({"done": "is.false", "rank": "lt.5"}, [1, 3]),
    ({"done": "isnot.false", "rank": "lt.5"}, [2, 4]),
    ({"body": "is.null"}, []),
    ({"body": None}, []),
    ({"body": "is.not_null", "rank": "lt.2"}, [1]),
    ({"title": "like.user1 note 1*"}, [1, 10]),
    ({"title": "like.%note 1%"}, [1, 10]),
    ({"title": "ilike.USER1 NOTE 2"}, [2]),
    ({"user_id": "like.*0001", "rank": 1}, [1]),
    ({"rank": "in.(1,2, 99)"}, [1, 2]),
    ({"rank": "in.()"}, []),
    ({"rank": {"in": [1, 2]}}, [1, 2]),
    ({"rank": "nin.(1,2,3,4,5,6,7)"}, [8, 9, 10]),
    ({"title": 'in.("user1 note 1","x,y")'}, [1]),
    ({"tags": "cs.{t4}"}, [4]),
    ({"tags": {"cs": ["t4", "all"]}}, [4]),
    ({"tags": "cd.{t4,all,more}"}, [4]),
    ({"tags": "ov.{t4,t5}"}, [4, 5]),
    ({"meta": 'cs.{"n":7}'}, [7]),
    ({"meta": {"cs": {"n": 7}}}, [7]),
    ({"meta": {"eq": {"n": 7}}}, [7]),
    ({"price": "eq.3.25"}, [3]),
    ({"price": 3.25}, [3]),
    ({"mood": "eq.calm", "rank": "lt.7"}, [3, 6]),
    ({"seen_at": "lt.2026-01-04"}, [1, 2]),
    ({"title": "eq.a.b.c"}, []),
    ({"shout": "eq.USER1 NOTE 5"}, [5]),
]


@pytest.mark.parametrize(("filter_", "ids"), CASES, ids=lambda v: str(v)[:60])
async def test_a_filter_finds_exactly_its_rows(
    user1: Caller, filter_: dict[str, Any], ids: list[int]
) -> None:
    rows = await user1.rows("notes", select="id", filter=filter_, order="id")
    assert [row["id"] for row in rows] == ids
    assert await user1.call("count_records", table="notes", filter=filter_) == {"count": len(ids)}


ALIKE: list[dict[str, Any]] = [
    {"filter": {"rank": "eq.3"}}, {"filter": {"rank": "gt.3", "title": "neq.a.b"}}, {},
    {"filter": {"title": "eq.user1 note 3"}, "select": "id,title"}, {"order": "rank.desc"},
    {"filter": {"rank": "lte.4"}, "order": "rank", "offset": 1, "limit": 2, "count": "exact"},
    {"filter": {"rank": "lte.4"}, "order": "rank", "limit": 2, "output": "csv"},
    {"filter": {"rank": "lte.4"}, "order": "rank", "limit": 2, "output": "columns"},
    {"filter": {"rank": "lt.4"}, "after": "", "limit": 2},
]  # fmt: skip


@pytest.mark.parametrize("arguments", ALIKE, ids=str)
async def test_what_is_remembered_of_a_calls_words_answers_as_its_reading_does(
    user1: Caller, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        return None

    first = await user1.call("query_table", table="notes", **arguments)
    again = await user1.call("query_table", table="notes", **arguments)
    other = {k: v.replace("4", "6") for k, v in arguments.get("filter", {}).items()}
    varied = {**arguments, **({"filter": other} if other else {})}
    remembered = await user1.call("query_table", table="notes", **varied)
    monkeypatch.setattr(reading, "_words", nothing)
    assert first == again == await user1.call("query_table", table="notes", **arguments)
    assert remembered == await user1.call("query_table", table="notes", **varied)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"rnak": "eq.1"}, "FLX202", "rank"),
    ({"secret": "eq.1"}, "FLX202", "secret"),
    ({"rank": "equals.1"}, "FLX102", "filter.rank"),
    ({"rank": "1"}, "FLX102", "filter.rank"),
    ({"rank": ""}, "FLX102", "filter.rank"),
    ({"rank": "eq.one"}, "FLX602", "filter.rank"),
    ({"rank": "in.(1,two)"}, "FLX602", "filter.rank"),
    ({"rank": "in.1,2"}, "FLX102", "parentheses"),
    ({"rank": 'in.("1)'}, "FLX102", "quoted"),
    ({"rank": "is.maybe"}, "FLX102", "null, true"),
    ({"rank": "is.true"}, "FLX102", "boolean"),
    ({"rank": []}, "FLX102", "empty list"),
    ({"rank": {}}, "FLX102", "empty object"),
    ({"rank": {"gt": None}}, "FLX102", "null"),
    ({"rank": {"in": 5}}, "FLX102", "list"),
    ({"rank": {"in": [None]}}, "FLX102", "null"),
    ({"rank": [["eq.1"]]}, "FLX102", "list"),
    ({"title": "eq.a\x00b"}, "FLX102", "NUL"),
    ({"done": 5}, "FLX602", "filter.done"),
    ({"mood": "eq.sad"}, "FLX602", "filter.mood"),
]


@pytest.mark.parametrize(("filter_", "code", "named"), WRONG, ids=lambda v: str(v)[:40])
async def test_a_wrong_filter_is_refused_by_name(
    user1: Caller, filter_: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", filter=filter_)
    assert refused.value.code == code
    assert named in refused.value.message


async def test_select_gives_the_columns_asked_in_their_order(user1: Caller) -> None:
    rows = await user1.rows("notes", select="title, id,title", filter={"id": 1})
    assert list(rows[0]) == ["title", "id"]


async def test_a_star_gives_only_readable_columns(user1: Caller) -> None:
    rows = await user1.rows("notes", filter={"id": 1})
    assert "secret" not in rows[0]
    assert {"id", "user_id", "title", "shout"} <= rows[0].keys()


@pytest.mark.parametrize(
    "select", ["secret", "id,nope", "id,,title", "", "count(*)", "id::regclass"]
)
async def test_a_wrong_select_is_refused(user1: Caller, select: str) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", select=select)
    assert refused.value.code in ("FLX102", "FLX202", "FLX203")


async def test_order_sorts_by_several_columns_and_nulls(user1: Caller) -> None:
    await user1.call("update_record", table="notes", data={"rank": None}, filter={"id": 5})
    first = await user1.rows("notes", select="id", order="rank.desc.nullsfirst,id", limit=2)
    last = await user1.rows("notes", select="id", order="rank desc nullslast, id", limit=2)
    assert [row["id"] for row in first] == [5, 10]
    assert [row["id"] for row in last] == [10, 9]


@pytest.mark.parametrize("order", ["nope", "rank.down", "secret.desc", ",id", "rank;drop"])
async def test_a_wrong_order_is_refused(user1: Caller, order: str) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", order=order)
    assert refused.value.code in ("FLX102", "FLX202")


async def test_offsets_walk_through_all_rows_once(user1: Caller) -> None:
    seen: list[int] = []
    offset: int | None = 0
    while offset is not None:
        page = await user1.call(
            "query_table", table="notes", select="id", order="id", limit=3, offset=offset
        )
        seen += [row["id"] for row in page["rows"]]
        offset = page["next_offset"]
    assert seen == list(range(1, 11))


async def test_count_exact_counts_beyond_the_page(user1: Caller) -> None:
    page = await user1.call("query_table", table="notes", limit=2, count="exact")
    assert page["total"] == 10


@pytest.mark.parametrize("limit", [0, -1, 1001, "many"])
async def test_a_limit_out_of_range_is_refused_not_clamped(user1: Caller, limit: object) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", limit=limit)
    assert refused.value.code == "FLX101"


async def test_odd_names_work_and_cannot_break_out(user1: Caller) -> None:
    table = 'odd "name" ☃'
    await user1.call("insert_record", table=table, data={"a column": 1, "select": "x"})
    assert await user1.rows(table, select='"a column",select') == [{"a column": 1, "select": "x"}]
    assert await user1.rows(table, filter={"a column": "eq.1"}) == [{"a column": 1, "select": "x"}]


async def test_a_page_ends_at_the_byte_limit_and_says_where_to_go_on(
    backend: Backend, user1: Caller, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = backend.database.config.model_copy(update={"max_bytes": 2048})
    monkeypatch.setattr(backend.database, "config", small)
    await owner.execute("UPDATE public.notes SET body = repeat('x', 900) WHERE id < 100")
    page = await user1.call("query_table", table="notes", select="id,body", order="id")
    assert [row["id"] for row in page["rows"]] == [1, 2]
    assert (page["truncated"], page["next_offset"]) == (True, 2)
    await owner.execute("UPDATE public.notes SET body = repeat('x', 9000) WHERE id = 1")
    with pytest.raises(Refused, match="larger than 2048 bytes"):
        await user1.rows("notes", select="id,body", order="id")
