"""list_tables and describe_table: everything a caller may know, and nothing more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from tests.world import TABLES, USER1, Caller, Refused

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend

READABLE = ["comments", "inbox", "my_notes", "news", "notes", 'odd "name" ☃']


async def names(caller: Caller, **arguments: Any) -> list[str]:
    return [t["name"] for t in (await caller.call("list_tables", **arguments))["tables"]]


async def listed(caller: Caller, name: str, *, there: bool) -> None:
    """Wait at most two seconds until a table is there, or gone."""
    for _ in range(100):
        if (name in await names(caller)) is there:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"{name} is {'not there' if there else 'still there'}")


async def described(caller: Caller, table: str = "notes") -> dict[str, Any]:
    return await caller.call("describe_table", table=table)


async def test_the_tables_a_caller_may_use_are_listed_by_name(user1: Caller) -> None:
    assert await names(user1) == READABLE
    assert await names(user1, schema="public") == READABLE


@pytest.mark.parametrize("schema", ["hidden", "auth", "platform", "pg_catalog", "no", ""])
async def test_other_schemas_look_empty_whether_they_exist_or_not(
    user1: Caller, schema: str
) -> None:
    page = await user1.call("list_tables", schema=schema)
    assert page == {"tables": [], "next_offset": None}


async def test_a_line_of_the_list_tells_columns_and_privileges(user1: Caller) -> None:
    page = await user1.call("list_tables")
    by_name = {table["name"]: table for table in page["tables"]}
    assert by_name["news"] == {
        "schema": "public",
        "name": "news",
        "kind": "table",
        "comment": None,
        "columns": ["id", "headline"],
        "privileges": ["select"],
    }
    assert by_name["notes"]["comment"] == "Notes of users."
    assert by_name["notes"]["privileges"] == ["select", "insert", "update", "delete"]
    assert "secret" not in by_name["notes"]["columns"]
    assert by_name["inbox"]["privileges"] == ["insert"]
    assert by_name["my_notes"]["kind"] == "view"


async def test_pages_walk_through_all_tables_once(user1: Caller) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await user1.call("list_tables", limit=4, offset=offset)
        seen += [table["name"] for table in page["tables"]]
        offset = page["next_offset"]
    assert seen == READABLE
    assert await names(user1, offset=len(READABLE)) == []
    assert await names(user1, offset=10**9) == []


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"schema": 5}])
async def test_a_wrong_argument_is_refused_by_name(user1: Caller, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        await user1.call("list_tables", **wrong)
    assert refused.value.code == "FLX101"
    assert next(iter(wrong)) in refused.value.message


async def test_columns_are_described(user1: Caller) -> None:
    columns = {column["name"]: column for column in (await described(user1))["columns"]}
    assert list(columns)[:4] == ["id", "user_id", "title", "body"]
    assert columns["mood"]["values"] == ["calm", "glad", "wild"]
    assert columns["mood"]["type"] in ("mood", "public.mood")
    assert columns["price"]["type"] == "numeric(20,4)"
    assert columns["tags"]["type"] == "text[]"
    assert columns["rank"]["comment"] == "Smaller comes first."
    assert columns["title"]["nullable"] is False
    assert columns["body"]["nullable"] is True
    assert columns["user_id"]["default"] == "auth.uid()"
    assert columns["shout"]["generated"] is True
    assert columns["shout"]["privileges"] == ["select"]
    assert columns["id"]["privileges"] == ["select", "insert"]
    assert columns["title"]["privileges"] == ["select", "insert", "update"]
    assert "secret" not in columns


async def test_keys_and_indexes_are_described_but_not_those_on_hidden_columns(
    user1: Caller,
) -> None:
    table = await described(user1)
    assert table["primary_key"] == ["id"]
    assert table["unique"] == [["user_id", "title"]]
    indexes = {index["name"]: index for index in table["indexes"]}
    assert indexes["notes_rank"] == {
        "name": "notes_rank",
        "columns": ["rank"],
        "unique": False,
        "method": "btree",
    }
    assert indexes["notes_pkey"]["unique"] is True
    assert "notes_secret" not in indexes


async def test_a_foreign_key_is_shown_only_when_its_target_is(
    user1: Caller, backend: Backend
) -> None:
    key = {"columns": ["note_id"], "references": "public.notes", "foreign_columns": ["id"]}
    assert (await described(user1, "comments"))["foreign_keys"] == [key]
    issued = await backend.keys.create(
        "client_key", NewKey("narrow", TABLES, user_id=USER1, allowed_tables=("comments",))
    )
    narrow = Caller("narrow", issued.id, issued.key, user1.http)
    assert await names(narrow) == ["comments"]
    assert (await described(narrow, "comments"))["foreign_keys"] == []


async def test_a_foreign_key_on_a_hidden_column_is_not_shown(user1: Caller, owner: Any) -> None:
    await owner.execute(
        "CREATE TABLE public.links (id int, note_id bigint REFERENCES public.notes); "
        "ALTER TABLE public.links ENABLE ROW LEVEL SECURITY; "
        "GRANT SELECT (id) ON public.links TO authenticated"
    )
    try:
        await listed(user1, "links", there=True)
        table = await described(user1, "links")
        assert [column["name"] for column in table["columns"]] == ["id"]
        assert table["foreign_keys"] == []
    finally:
        await owner.execute("DROP TABLE public.links")
    await listed(user1, "links", there=False)


async def test_only_the_policies_that_apply_are_shown(user1: Caller) -> None:
    table = await described(user1)
    assert table["row_level_security"] is True
    assert [policy["name"] for policy in table["policies"]] == ["own"]
    policy = table["policies"][0]
    assert (policy["command"].lower(), policy["permissive"]) == ("all", True)
    assert "auth.uid()" in policy["using"]
    assert "auth.uid()" in policy["check"]
    everybody = await described(user1, "comments")
    assert [policy["name"] for policy in everybody["policies"]] == ["own"]


async def test_a_table_to_write_only_is_described_by_what_may_be_written(user1: Caller) -> None:
    table = await described(user1, "inbox")
    assert table["privileges"] == ["insert"]
    assert all("select" not in column["privileges"] for column in table["columns"])


async def test_the_name_may_carry_the_schema(user1: Caller) -> None:
    assert await described(user1, "public.notes") == await described(user1, "notes")


@pytest.mark.parametrize(
    "table",
    ["hidden.vault", "vault", "unprotected", "ungranted", "all_notes", "auth.client_keys", "no"],
)
async def test_what_a_caller_may_not_see_is_unknown(user1: Caller, table: str) -> None:
    with pytest.raises(Refused) as refused:
        await described(user1, table)
    assert (refused.value.code, refused.value.message.partition(";")[0]) == (
        "FLX201",
        "no such table",
    )


async def test_anonymous_callers_see_their_tables_only(callers: dict[str, Caller]) -> None:
    assert await names(callers["anon"]) == ["news"]


async def test_a_service_key_sees_every_table_of_users(service: Caller) -> None:
    found = await service.call("list_tables", limit=1000)
    seen = {f"{table['schema']}.{table['name']}" for table in found["tables"]}
    assert {"public.notes", "public.unprotected"} <= seen


async def test_a_caller_without_any_table_gets_empty_lists(user1: Caller, backend: Backend) -> None:
    issued = await backend.keys.create(
        "client_key", NewKey("none", TABLES, user_id=USER1, allowed_tables=("nothing_*",))
    )
    none = Caller("none", issued.id, issued.key, user1.http)
    assert await none.call("list_tables") == {"tables": [], "next_offset": None}
    with pytest.raises(Refused, match="no such table"):
        await none.rows("notes")


async def test_a_new_table_shows_within_a_second(
    user1: Caller, backend: Backend, owner: Any
) -> None:
    await owner.execute(
        "CREATE TABLE public.a_new_one (id int); ALTER TABLE public.a_new_one ENABLE ROW LEVEL "
        "SECURITY; GRANT SELECT ON public.a_new_one TO authenticated"
    )
    try:
        await listed(user1, "a_new_one", there=True)
    finally:
        await owner.execute("DROP TABLE public.a_new_one")
    await listed(user1, "a_new_one", there=False)
