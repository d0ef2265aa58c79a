"""insert_record, update_record and delete_record: all or nothing, and exactly what was said."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import USER1, USER2, Refused

if TYPE_CHECKING:
    from tests.world import Caller

NOTES = "SELECT count(*) FROM public.notes"


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value


async def insert(caller: Caller, data: Any, **arguments: Any) -> dict[str, Any]:
    return await caller.call("insert_record", table="notes", data=data, **arguments)


async def test_one_row_comes_back_as_stored_and_as_an_object_in_the_text(user1: Caller) -> None:
    call = {"table": "notes", "data": {"title": "new", "rank": 5}}
    answer = await user1.rpc("tools/call", name="insert_record", arguments=call)
    result = answer["result"]["structuredContent"]
    [row] = result["records"]
    assert (result["inserted"], result["dry_run"]) == (1, False)
    assert (row["title"], row["rank"], row["user_id"], row["shout"]) == ("new", 5, USER1, "NEW")
    assert "secret" not in row
    assert json.loads(answer["result"]["content"][0]["text"]) == row
    assert await user1.rows("notes", filter={"id": row["id"]}) == [row]


async def test_many_rows_come_back_in_their_order(user1: Caller) -> None:
    data = [{"title": f"many {n}", "rank": n} for n in range(20)]
    result = await insert(user1, data, returning="title,rank")
    assert result["inserted"] == 20
    assert result["records"] == data


async def test_what_a_row_leaves_out_gets_its_default(user1: Caller, owner: Any) -> None:
    rows = [{"title": "a", "rank": 1}, {"rank": 2, "title": "b"}, {"title": "c"}, {"title": "d"}]
    result = await insert(user1, [*rows, {"title": "e", "rank": 5}])
    shown = [(r["title"], r["rank"], r["user_id"]) for r in result["records"]]
    assert shown == [(t, n, USER1) for t, n in zip("abcde", (1, 2, None, None, 5), strict=True)]


WRONG: list[tuple[Any, str, str]] = [
    ([], "FLX101", "row"),
    ({}, "FLX601", "title"),
    ([{}, {"title": "x"}], "FLX601", "title"),
    ("x", "FLX101", "data"),
    ([5], "FLX101", "data"),
    ({"title": "x", "shout": "X"}, "FLX202", "shout"),
    ({"title": "x", "secret": "y"}, "FLX202", "data"),
    ({"title": "x", "rnak": 1}, "FLX202", "rank"),
    ([{"title": f"{n}"} for n in range(1001)], "FLX101", "1000"),
]


@pytest.mark.parametrize(("data", "code", "named"), WRONG, ids=lambda v: str(v)[:40])
async def test_wrong_data_is_refused_by_name(
    user1: Caller, owner: Any, data: Any, code: str, named: str
) -> None:
    before = await owner.fetchval(NOTES)
    error = await refused(user1, "insert_record", table="notes", data=data)
    assert error.code == code
    assert named in error.message
    assert await owner.fetchval(NOTES) == before


async def test_a_column_that_the_database_sets_cannot_be_written(user1: Caller) -> None:
    data = {"id": 5, "note_id": 1, "body": "x"}
    error = await refused(user1, "insert_record", table="comments", data=data)
    assert error.code in ("FLX101", "FLX302")
    error = await refused(
        user1, "update_record", table="comments", data={"id": 5}, filter={"note_id": 1}
    )
    assert error.code in ("FLX101", "FLX302")


async def test_a_thousand_rows_fit_into_one_call(user1: Caller) -> None:
    result = await insert(user1, [{"title": f"{n}"} for n in range(1000)], returning="")
    assert (result["inserted"], result["records"]) == (1000, [])


@pytest.mark.parametrize(
    ("returning", "row"),
    [
        ("", None),
        (" ", None),
        ("title", {"title": "r"}),
        ("rank, title", {"rank": 1, "title": "r"}),
    ],
)
async def test_returning_names_the_columns(
    user1: Caller, returning: str, row: dict[str, Any] | None
) -> None:
    result = await insert(user1, {"title": "r", "rank": 1}, returning=returning)
    assert result["inserted"] == 1
    assert result["records"] == ([] if row is None else [row])


@pytest.mark.parametrize("returning", ["secret", "nope", "title,,rank", "count(*)"])
async def test_a_wrong_returning_is_refused_before_anything_is_written(
    user1: Caller, owner: Any, returning: str
) -> None:
    before = await owner.fetchval(NOTES)
    error = await refused(
        user1, "insert_record", table="notes", data={"title": "r"}, returning=returning
    )
    assert error.code in ("FLX102", "FLX202", "FLX203")
    assert await owner.fetchval(NOTES) == before


async def test_who_may_write_but_not_read_gets_nothing_back(user1: Caller, owner: Any) -> None:
    call = {"table": "inbox", "data": [{"body": "one"}, {"body": "two"}]}
    result = await user1.call("insert_record", **call)
    assert (result["inserted"], result["records"]) == (2, [])
    assert await owner.fetchval("SELECT count(*) FROM public.inbox") == 2
    error = await refused(user1, "insert_record", **call, returning="body")
    assert error.code == "FLX202"


async def test_a_conflict_updates_the_row_that_is_there(user1: Caller) -> None:
    data = {"id": 1, "title": "replaced", "rank": 77}
    error = await refused(user1, "insert_record", table="notes", data=data)
    assert error.code == "FLX601"


async def test_on_conflict_needs_the_right_to_update_its_columns(user1: Caller) -> None:
    # The key may insert notes.id but not update it: as a target it is not set again.
    result = await insert(
        user1, {"id": 1, "title": "replaced", "rank": 77}, on_conflict="id", returning="id,title"
    )
    assert result["records"] == [{"id": 1, "title": "replaced"}]
    assert (await user1.rows("notes", filter={"id": 1}))[0]["rank"] == 77


async def test_a_conflict_on_several_columns_updates(user1: Caller) -> None:
    data = [{"title": "user1 note 2", "rank": 70}, {"title": "user1 note 999", "rank": 71}]
    for rows in data:
        await insert(user1, {**rows, "user_id": USER1}, on_conflict="user_id,title")
    assert (await user1.rows("notes", filter={"id": 2}))[0]["rank"] == 70
    assert len(await user1.rows("notes", filter={"title": "eq.user1 note 999"})) == 1


async def test_a_conflict_can_be_ignored(user1: Caller) -> None:
    data = [{"id": 1, "title": "ignored"}, {"id": 5000, "title": "inserted"}]
    result = await insert(
        user1, data, on_conflict="id", on_conflict_action="ignore", returning="id"
    )
    assert (result["inserted"], result["records"]) == (1, [{"id": 5000}])
    assert (await user1.rows("notes", filter={"id": 1}))[0]["title"] == "user1 note 1"


@pytest.mark.parametrize(
    ("conflict", "code"),
    [("rank", "FLX101"), ("title", "FLX101"), ("nope", "FLX202"), ("secret", "FLX202")],
)
async def test_on_conflict_needs_a_unique_constraint(
    user1: Caller, conflict: str, code: str
) -> None:
    error = await refused(
        user1,
        "insert_record",
        table="notes",
        data={"title": "x", "rank": 1},
        on_conflict=conflict,
    )
    assert error.code == code


async def test_the_same_key_twice_in_one_upsert_is_refused(user1: Caller) -> None:
    data = [{"id": 1, "title": "a"}, {"id": 1, "title": "b"}]
    error = await refused(user1, "insert_record", table="notes", data=data, on_conflict="id")
    assert error.code == "FLX101"


async def test_an_upsert_does_not_take_over_rows_of_others(user1: Caller, user2: Caller) -> None:
    before = await user2.rows("notes", filter={"id": 101})
    error = await refused(
        user1, "insert_record", table="notes", data={"id": 101, "title": "x"}, on_conflict="id"
    )
    assert error.code in ("FLX302", "FLX601")
    assert await user2.rows("notes", filter={"id": 101}) == before


async def test_an_update_changes_what_the_filter_finds_and_returns_it(user1: Caller) -> None:
    result = await user1.call(
        "update_record",
        table="notes",
        data={"rank": 50, "body": None},
        filter={"rank": "lte.2"},
        returning="id,rank,body",
    )
    assert result["updated"] == 2
    assert sorted(result["records"], key=lambda row: row["id"]) == [
        {"id": 1, "rank": 50, "body": None},
        {"id": 2, "rank": 50, "body": None},
    ]
    assert len(await user1.rows("notes", filter={"rank": 50})) == 2


async def test_a_delete_removes_what_the_filter_finds_and_returns_it(user1: Caller) -> None:
    result = await user1.call(
        "delete_record", table="notes", filter={"id": "in.(1,2)"}, returning="id"
    )
    assert result["deleted"] == 2
    assert sorted(row["id"] for row in result["records"]) == [1, 2]
    assert await user1.call("count_records", table="notes") == {"count": 8}


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
@pytest.mark.parametrize("filter_", [{}, None, "missing"])
async def test_a_filter_is_mandatory(user1: Caller, owner: Any, tool: str, filter_: Any) -> None:
    arguments: dict[str, Any] = {"table": "notes"}
    if filter_ != "missing":
        arguments["filter"] = filter_
    if tool == "update_record":
        arguments["data"] = {"rank": 0}
    assert (await refused(user1, tool, **arguments)).code == "FLX101"
    assert await owner.fetchval(NOTES + " WHERE rank = 0") == 0
    assert await owner.fetchval(NOTES) == 17


@pytest.mark.parametrize("tool", ["update_record", "delete_record"])
async def test_more_rows_than_allowed_change_nothing(user1: Caller, owner: Any, tool: str) -> None:
    data = {"data": {"rank": 0}} if tool == "update_record" else {}
    arguments = {"table": "notes", "filter": {"rank": "gte.0"}, **data}
    error = await refused(user1, tool, **arguments, max_affected=9)
    assert error.code == "FLX505"
    assert "10 rows" in error.message
    assert await owner.fetchval(NOTES) == 17
    assert await owner.fetchval(NOTES + " WHERE rank = 0") == 0
    result = await user1.call(tool, **arguments, max_affected=10, returning="")
    assert next(iter(result.values())) == 10


async def test_nothing_matched_is_nothing_changed(user1: Caller) -> None:
    update = await user1.call("update_record", table="notes", data={"rank": 0}, filter={"id": 101})
    delete = await user1.call("delete_record", table="notes", filter={"id": 101})
    assert (update["updated"], update["records"]) == (0, [])
    assert (delete["deleted"], delete["records"]) == (0, [])


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("insert_record", {"data": {"title": "dry"}}, "inserted"),
        ("update_record", {"data": {"title": "dry"}, "filter": {"id": 1}}, "updated"),
        ("delete_record", {"filter": {"id": 1}}, "deleted"),
    ],
)
async def test_a_dry_run_says_what_would_be_and_changes_nothing(
    user1: Caller, owner: Any, tool: str, arguments: dict[str, Any], said: str
) -> None:
    before = await owner.fetch("SELECT * FROM public.notes ORDER BY id")
    result = await user1.call(tool, table="notes", **arguments, dry_run=True)
    assert (result[said], result["dry_run"], len(result["records"])) == (1, True, 1)
    assert await owner.fetch("SELECT * FROM public.notes ORDER BY id") == before


async def test_a_dry_run_meets_the_rules_of_the_table_too(user1: Caller) -> None:
    data = {"title": "x", "rank": 666}
    error = await refused(user1, "insert_record", table="notes", data=data, dry_run=True)
    assert error.code == "FLX601"


@pytest.mark.parametrize(
    ("table", "data", "named"),
    [
        ("notes", {"title": "x", "rank": 666}, "notes_rank_check"),
        ("notes", {"title": "user1 note 1"}, "notes_user_id_title_key"),
        ("notes", {"title": None}, "title"),
        ("notes", {"body": "no title"}, "title"),
        ("comments", {"note_id": 99999, "body": "x"}, "comments_note_id_fkey"),
    ],
)
async def test_a_broken_rule_is_named_and_nothing_else(
    user1: Caller, table: str, data: dict[str, Any], named: str
) -> None:
    error = await refused(user1, "insert_record", table=table, data=data)
    assert error.code == "FLX601"
    assert f"({named})" in error.message
    said = json.dumps(error.answer)
    assert "99999" not in said
    assert "note 1" not in said
    assert "Failing row" not in said


async def test_one_bad_row_refuses_all(user1: Caller, owner: Any) -> None:
    data = [{"title": "good", "rank": 1}, {"title": "bad", "rank": 666}]
    assert (await refused(user1, "insert_record", table="notes", data=data)).code == "FLX601"
    assert await owner.fetchval(NOTES) == 17


async def test_a_row_for_somebody_else_is_refused_by_the_policy(user1: Caller, owner: Any) -> None:
    data = {"title": "planted", "user_id": USER2}
    error = await refused(user1, "insert_record", table="notes", data=data)
    assert error.code == "FLX302"
    assert await owner.fetchval(NOTES) == 17


async def test_defaults_of_the_table_hold(user1: Caller) -> None:
    [row] = (await insert(user1, {"title": "defaults"}))["records"]
    assert row["user_id"] == USER1
    assert row["id"] > 1000
    assert row["body"] is None


async def test_a_key_without_a_user_has_no_rows_of_its_own(callers: dict[str, Caller]) -> None:
    error = await refused(
        callers["nobody"], "insert_record", table="notes", data={"title": "nobody's"}
    )
    assert error.code in ("FLX302", "FLX601")


@pytest.mark.parametrize("tool", ["insert_record", "update_record", "delete_record"])
@pytest.mark.parametrize("name", ["read_only", "reader", "schema"])
async def test_who_may_only_read_has_no_tool_to_write(
    callers: dict[str, Caller], owner: Any, name: str, tool: str
) -> None:
    caller = callers[name]
    listed = (await caller.rpc("tools/list"))["result"]["tools"]
    assert tool not in [entry["name"] for entry in listed]
    error = await refused(caller, tool, table="notes", data={"title": "x"}, filter={"id": 1})
    assert error.code == "FLX401"
    assert await owner.fetchval(NOTES) == 17


async def test_a_caller_without_the_privilege_is_refused(user1: Caller, service: Caller) -> None:
    for tool, more in (
        ("insert_record", {"data": {"id": 99, "headline": "x"}}),
        ("update_record", {"data": {"headline": "x"}, "filter": {"id": 1}}),
        ("delete_record", {"filter": {"id": 1}}),
    ):
        error = await refused(user1, tool, table="news", **more)
        assert error.code == "FLX302"


async def test_writing_through_a_view_keeps_to_the_rows_of_the_caller(
    user1: Caller, user2: Caller, owner: Any
) -> None:
    await owner.execute("GRANT INSERT, UPDATE, DELETE ON public.my_notes TO authenticated")
    try:
        await _until_writable(user1)
        result = await user1.call(
            "update_record", table="my_notes", data={"title": "via view"}, filter={"id": 1}
        )
        assert result["records"] == [{"id": 1, "title": "via view", "user_id": USER1}]
        foreign = await user1.call("delete_record", table="my_notes", filter={"id": 101})
        assert foreign["deleted"] == 0
        data = {"title": "planted", "user_id": USER2}
        error = await refused(user1, "insert_record", table="my_notes", data=data)
        assert error.code == "FLX302"
        own = await user1.call("insert_record", table="my_notes", data={"title": "own"})
        assert own["inserted"] == 1
    finally:
        await owner.execute("REVOKE INSERT, UPDATE, DELETE ON public.my_notes FROM authenticated")
    assert len(await user2.rows("notes")) == 7


async def _until_writable(caller: Caller) -> None:
    for _ in range(100):
        tables = (await caller.call("list_tables"))["tables"]
        [view] = [table for table in tables if table["name"] == "my_notes"]
        if "update" in view["privileges"]:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the grant is not seen")
