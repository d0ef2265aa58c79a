"""Administrators change the schema by typed arguments, and every change can be tried first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "bigint", "primary_key": True, "default_value": "1"},
    {"name": "owner", "type": "uuid", "nullable": False, "default_value": "auth.uid()"},
    {"name": "title", "type": "varchar(80)", "nullable": False, "unique": True},
    {"name": "price", "type": "numeric(10,2)", "check": "price >= 0"},
    {"name": "tags", "type": "text[]", "default_value": "ARRAY['new']"},
    {"name": "place", "type": "vector(3)"},
    {"name": "note_id", "type": "bigint", "references": "notes(id)", "on_delete": "cascade"},
    {"name": "shout", "type": "text", "generated": "upper(title)"},
    {"name": "state", "type": "public.made_state"},
]


@pytest.fixture(autouse=True)
async def clean(owner: asyncpg.Connection[asyncpg.Record], rows: None) -> AsyncGenerator[None]:
    yield
    await owner.execute("DROP SCHEMA IF EXISTS made CASCADE")
    await owner.execute("DROP TABLE IF EXISTS public.made_table, public.made_other")
    await owner.execute("DROP TYPE IF EXISTS public.made_state")


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value


async def made(service: Caller) -> None:
    await service.call("create_enum", name="made_state", values=["open", "it's"])
    await service.call("create_table", name="made_table", columns=COLUMNS)


async def test_the_life_of_a_table(
    service: Caller, user1: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await made(service)
    on = "SELECT relrowsecurity FROM pg_class WHERE oid = 'public.made_table'::regclass"
    assert await owner.fetchval(on) is True
    described = await service.call("describe_table", table="made_table")
    kinds = {column["name"]: column["type"] for column in described["columns"]}
    assert kinds["price"] == "numeric(10,2)"
    assert kinds["place"] == "vector(3)"
    assert kinds["tags"] == "text[]"
    assert described["primary_key"] == ["id"]
    policy = {"table": "made_table", "name": "own", "using": "owner = (SELECT auth.uid())"}
    await service.call("create_policy", **policy, check="owner = (SELECT auth.uid())")
    await owner.execute("GRANT SELECT, INSERT ON public.made_table TO authenticated")
    inserted = await user1.call("insert_record", table="made_table", data={"title": "a"})
    assert inserted["records"][0]["shout"] == "A"
    await service.call("add_column", table="made_table", column={"name": "more", "type": "jsonb"})
    await service.call("rename_column", table="made_table", column="more", new_name="less")
    index = {"table": "made_table", "name": "made_place", "columns": ["place"], "method": "hnsw"}
    await service.call("create_index", **index)
    await service.call("drop_index", name="made_place")
    await service.call("drop_policy", table="made_table", name="own")
    await service.call("drop_column", table="made_table", column="less")
    await service.call("rename_table", table="made_table", new_name="made_other")
    await service.call("drop_table", table="made_other")
    await service.call("drop_enum", name="made_state")
    assert (await refused(service, "describe_table", table="made_other")).code == "FLX201"


async def test_what_was_changed_is_kept_with_what_takes_it_back(
    service: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await owner.execute("TRUNCATE platform.schema_changes; TRUNCATE platform.audit")
    done = await service.call("create_schema", name="made")
    assert (done["up"], done["down"]) == ('CREATE SCHEMA "made";', 'DROP SCHEMA "made";')
    column = {"name": "extra", "type": "text", "default_value": "'x'"}
    await service.call("add_column", table="inbox", column=column)
    changes = (await service.call("list_schema_changes"))["changes"]
    assert [c["action"] for c in changes] == ["add_column", "create_schema"]
    assert changes[0]["principal"] == service.id
    for change in changes:
        await owner.execute(change["down"])
    await service.call("create_schema", name="made")
    await service.call("drop_schema", name="made")
    assert await owner.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'made'") == 0
    notes = await owner.fetch("SELECT action, target FROM platform.audit WHERE outcome = 'ok'")
    assert ("create_schema", "made") in {tuple(note) for note in notes}
    lost = await service.call("drop_column", table="notes", column="secret", dry_run=True)
    assert lost["down"] is None


async def test_a_change_is_tried_with_its_locks_and_undone(
    service: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    kept = await owner.fetchval("SELECT count(*) FROM platform.schema_changes")
    tried = await service.call("drop_table", table="comments", dry_run=True)
    assert "AccessExclusiveLock on what is dropped" in tried["locks"]
    longer = {"table": "comments", "column": {"name": "more", "type": "text"}, "dry_run": True}
    added = await service.call("add_column", **longer)
    assert added["locks"] == ["AccessExclusiveLock on public.comments"]
    assert tried["dry_run"] is True
    assert await owner.fetchval("SELECT count(*) FROM public.comments") == 17
    assert await owner.fetchval("SELECT count(*) FROM platform.schema_changes") == kept
    depends = await refused(service, "drop_table", table="notes", dry_run=True)
    assert depends.code == "FLX506"
    assert "cascade" in depends.message
    both = await service.call("drop_table", table="notes", cascade=True, dry_run=True)
    assert both["success"] is True


@pytest.mark.parametrize(
    "column",
    [
        {"name": "x", "type": "text; DROP TABLE notes"},
        {"name": "x", "type": "regclass"},
        {"name": "x", "type": "auth.users"},
        {"name": "x", "type": "vector(3)[][][][]"},
        {"name": 'x" int; DROP TABLE notes; --', "type": "text"},
        {"name": "x", "type": "text", "default_value": "'a'; DROP TABLE notes"},
        {"name": "x", "type": "text", "default_value": "pg_read_file('/etc/passwd')"},
        {"name": "x", "type": "text", "default_value": "1) , ADD COLUMN y int DEFAULT (2"},
        {"name": "x", "type": "int", "check": "x > 0) , ADD COLUMN y int CHECK (true"},
        {"name": "x", "type": "text", "generated": "set_config('role', 'x', true)"},
        {"name": "x", "type": "bigint", "references": "auth.users(id)"},
        {"name": "x", "type": "bigint", "references": "notes(id); DROP TABLE notes"},
        {"name": "x", "type": "bigint", "references": "nothing(id)"},
        {"name": "x", "type": "text", "nonsense": 1},
        {"name": "x", "type": "text", "nullable": False},
        {"name": "body", "type": "text"},
    ],
)
async def test_no_argument_is_more_than_what_it_stands_for(
    service: Caller, owner: asyncpg.Connection[asyncpg.Record], column: dict[str, Any]
) -> None:
    await owner.execute("INSERT INTO public.inbox (body) VALUES ('x')")
    before = await owner.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'public.inbox'::regclass"
    )
    error = await refused(service, "add_column", table="inbox", column=column)
    assert error.code in ("FLX101", "FLX201", "FLX302", "FLX506"), error.message
    after = await owner.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'public.inbox'::regclass"
    )
    assert before == after
    assert await owner.fetchval("SELECT count(*) FROM notes") == 17


def column(type_: str, **more: str) -> dict[str, Any]:
    return {"name": "made_table", "columns": [{"name": "a", "type": type_, **more}]}


@pytest.mark.parametrize(
    ("tool", "arguments", "word"),
    [
        ("create_policy", {"table": "inbox", "command": "insert", "using": "true"}, "using"),
        ("create_policy", {"table": "inbox", "command": "select", "check": "true"}, "check"),
        ("create_policy", {"table": "inbox"}, "at least one"),
        ("create_policy", {"table": "inbox", "roles": ["nobody"], "using": "true"}, "role"),
        ("create_index", {"table": "inbox", "columns": ["id"], "method": "gin"}, "type"),
        ("create_index", {"table": "inbox", "columns": ["body"], "method": "hnsw"}, "type"),
        ("create_index", {"table": "inbox", "columns": ["id", "body"], "method": "hnsw"}, "one"),
        (
            "create_index",
            {"table": "inbox", "columns": ["id"], "method": "hash", "unique": True},
            "btree",
        ),
        ("create_table", column("text(3)"), "length"),
        ("create_table", column("varchar(3, 1)"), "length"),
        ("create_table", column("numeric(2000, 3)"), "out of range"),
        ("create_table", column("vector(99999)"), "out of range"),
        ("create_table", column("bigint", check="(SELECT 1) = 1"), "subquery"),
        ("create_enum", {"values": ["a", "a"]}, "once"),
        ("create_policy", {"table": "all_notes", "using": "true"}, "view"),
        ("drop_index", {"name": "notes_pkey"}, "depend"),
    ],
)
async def test_what_cannot_be_is_refused_in_words_of_its_own(
    service: Caller, tool: str, arguments: dict[str, Any], word: str
) -> None:
    error = await refused(service, tool, **{"name": "made_x", **arguments, "dry_run": True})
    assert error.code in ("FLX101", "FLX506")
    assert word in error.message


@pytest.mark.parametrize(
    "kind", ["int", "int8", "bool", "decimal(4, 2)", "timestamptz(3)", "float8[]"]
)
async def test_the_other_names_of_types_are_known_too(service: Caller, kind: str) -> None:
    assert (await service.call("create_table", **column(kind), dry_run=True))["success"] is True


@pytest.mark.parametrize(
    "schema", ["auth", "storage", "platform", "pg_catalog", "extensions", "x y"]
)
async def test_the_server_s_own_schemas_are_out_of_reach(service: Caller, schema: str) -> None:
    for tool, arguments in (
        ("drop_schema", {"name": schema, "cascade": True}),
        (
            "create_table",
            {"name": "x", "schema": schema, "columns": [{"name": "a", "type": "text"}]},
        ),
        ("drop_table", {"table": "users", "schema": schema}),
        ("create_policy", {"table": "objects", "name": "p", "schema": schema, "using": "true"}),
    ):
        assert (await refused(service, tool, **arguments)).code in ("FLX101", "FLX302")


async def test_only_service_keys_with_the_scope_have_these(user1: Caller) -> None:
    assert (await refused(user1, "create_schema", name="made")).code == "FLX401"
