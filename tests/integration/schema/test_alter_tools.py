"""What stays is changed by typed arguments, and what is kept with a change really takes it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.schema.made import COLUMNS, STATE, clean, refused, state

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from tests.world import Caller

    Owner = asyncpg.Connection[asyncpg.Record]

__all__ = ["clean"]
EVIL = "it's \"x\"'); DROP TABLE notes; --"


@pytest.fixture(autouse=True)
async def made(service: Caller, clean: None) -> None:
    await service.call("create_enum", name="made_state", values=["open", "it's"])
    await service.call("create_table", name="made_table", columns=COLUMNS)


async def take_back(owner: Owner, done: Mapping[str, Any]) -> None:
    """Run what is kept with a change where no search path finds anything."""
    async with owner.transaction():
        await owner.execute("SET LOCAL search_path = ''")
        await owner.execute(done["down"])


@pytest.mark.parametrize(
    ("column", "to", "shown"),
    [
        ("title", {"type": "text"}, ("text", None, True)),
        ("price", {"type": "integer"}, ("integer", "0.50", False)),
        ("price", {"type": "text", "using": "price::text"}, ("text", "0.50", False)),
        ("price", {"type": "bigint", "default_value": "7"}, ("bigint", "7", False)),
        ("price", {"type": "jsonb", "using": "to_jsonb(price)", "drop_default": True}, None),
        ("price", {"default_value": "1 + 1"}, ("numeric(10,2)", "(1 + 1)", False)),
        ("price", {"drop_default": True}, ("numeric(10,2)", None, False)),
        ("title", {"nullable": True}, ("character varying(80)", None, False)),
        ("price", {"nullable": False}, None),
        ("owner", {"type": "text", "default_value": "'x'", "nullable": True}, None),
        ("tags", {"type": "varchar(9)[]"}, None),
        ("place", {"type": "halfvec(3)"}, None),
        ("shout", {"type": "varchar(90)"}, None),
        ("state", {"type": "text", "drop_default": True}, ("text", None, False)),
        ("byte_wise", {"type": "public.made_state", "using": "NULL", "drop_default": True}, None),
        ("byte_wise", {"type": "varchar(5)"}, None),
    ],
)
async def test_a_column_is_altered_and_what_is_kept_takes_it_back(
    service: Caller, owner: Owner, column: str, to: dict[str, Any], shown: tuple[Any, ...] | None
) -> None:
    await owner.execute(
        "ALTER TABLE public.made_table ADD byte_wise text COLLATE \"C\" DEFAULT 'a';"
        "INSERT INTO public.made_table (title, owner, price) VALUES ('a', gen_random_uuid(), 2)"
    )
    before = await state(owner)
    change = {"table": "made_table", "column": column, **to}
    tried = await service.call("alter_column", **change, dry_run=True)
    assert await state(owner) == before
    assert tried["locks"][0].startswith("AccessExclusiveLock")
    done = await service.call("alter_column", **change)
    assert done["up"] == tried["up"]
    after = await state(owner)
    assert after != before
    if shown is not None:
        assert after["columns"][column][:3] == shown
    await take_back(owner, done)
    assert await state(owner) == before


async def test_a_column_that_is_asked_to_stay_has_what_takes_it_back_all_the_same(
    service: Caller, owner: Owner
) -> None:
    before = await state(owner)
    change = {"table": "made_table", "column": "price", "nullable": True, "drop_default": False}
    await take_back(owner, await service.call("alter_column", **change))
    assert await state(owner) == before


async def test_rows_are_cast_as_using_says(service: Caller, owner: Owner) -> None:
    await owner.execute(
        "INSERT INTO public.made_table (title, owner) VALUES ('a', gen_random_uuid())"
    )
    change = {"table": "made_table", "column": "price", "type": "int"}
    await service.call("alter_column", **change, using="length(title) + 41")
    assert await owner.fetchval("SELECT price FROM public.made_table") == 42


@pytest.mark.parametrize(
    ("policy", "to", "back"),
    [
        ("using (owner = auth.uid())", {"using": "title = 'a'"}, None),
        ("to anon using (owner = auth.uid())", {"roles": []}, None),
        ("using (owner = auth.uid())", {"roles": ["anon", "authenticated"]}, None),
        (
            "to anon, authenticated using (true) with check (state = 'open')",
            {"using": "false", "check": "(SELECT count(*) FROM notes) > 1", "roles": ["anon"]},
            None,
        ),
        ("for insert with check (id = 1)", {"check": "true"}, None),
        # No ALTER POLICY takes an expression away: what it stood for is written out.
        ("using (id = 1)", {"check": "id = 2"}, ("(id = 1)", "(id = 1)")),
        ("using (id = 1)", {"using": "id = 3", "check": "id = 2"}, ("(id = 1)", "(id = 1)")),
        ("with check (id = 1)", {"using": "id = 2"}, ("false", "(id = 1)")),
        ("as restrictive with check (id = 1)", {"using": "id = 2"}, ("true", "(id = 1)")),
        ("for insert", {"check": "true"}, (None, "false")),
    ],
)
async def test_a_policy_is_altered_and_what_is_kept_takes_it_back(
    service: Caller,
    owner: Owner,
    policy: str,
    to: dict[str, Any],
    back: tuple[str | None, str] | None,
) -> None:
    await owner.execute(f"CREATE POLICY p ON public.made_table {policy}")
    before = await state(owner)
    change = {"table": "made_table", "name": "p", **to}
    await service.call("alter_policy", **change, dry_run=True)
    assert await state(owner) == before
    done = await service.call("alter_policy", **change)
    altered = await state(owner)
    assert altered["policies"] != before["policies"]
    await take_back(owner, done)
    again = (await state(owner))["policies"]["p"]
    if back is None:
        assert again == before["policies"]["p"]
    else:
        assert again == (*before["policies"]["p"][:3], *back)


async def test_a_policy_is_renamed_and_renamed_back(service: Caller, owner: Owner) -> None:
    policy = {"table": "made_table", "name": EVIL}
    await service.call("create_policy", **policy, using="true")
    before = await state(owner)
    await service.call("rename_policy", **policy, new_name="other", dry_run=True)
    assert await state(owner) == before
    done = await service.call("rename_policy", **policy, new_name=f"2 {EVIL}")
    assert set((await state(owner))["policies"]) == {f"2 {EVIL}"}
    await service.call("alter_policy", table="made_table", name=f"2 {EVIL}", using="false")
    await take_back(owner, done)
    assert set((await state(owner))["policies"]) == {EVIL}


async def test_an_enum_has_more_values_and_others(service: Caller, owner: Owner) -> None:
    before = await state(owner)
    assert before["values"] == ["open", "it's"]
    added = await service.call("alter_enum", name="made_state", add_value=EVIL, dry_run=True)
    assert await state(owner) == before
    assert added["down"] is None
    await service.call("alter_enum", name="made_state", add_value=EVIL)
    await service.call("alter_enum", name="made_state", add_value="first", before="open")
    await service.call("alter_enum", name="made_state", add_value="third", after="open")
    await service.call("alter_enum", name="made_state", add_value="fifth", after="it's")
    values = ["first", "open", "third", "it's", "fifth", EVIL]
    assert (await state(owner))["values"] == values
    column = {"name": "again", "type": "public.made_state", "default_value": "'first'"}
    await service.call("add_column", table="made_table", column=column)
    renamed = {"name": "made_state", "rename_value": EVIL, "new_value": f"2{EVIL}"}
    done = await service.call("alter_enum", **renamed)
    assert (await state(owner))["values"] == [*values[:5], f"2{EVIL}"]
    await take_back(owner, done)
    assert (await state(owner))["values"] == values


async def test_schemas_indexes_and_enums_are_renamed_and_renamed_back(
    service: Caller, owner: Owner
) -> None:
    await service.call("create_schema", name="made")
    await service.call("create_enum", name="mode", values=["a"], schema="made")
    columns = [{"name": "id", "type": "made.mode", "primary_key": True}]
    await service.call("create_table", name="t", columns=columns, schema="made")

    async def names() -> list[str]:
        return [row["name"] for row in await owner.fetch(STATE["names"])]

    first = ["index made.t_pkey", "table made.t", "type made.mode"]
    assert await names() == first
    await service.call("rename_schema", name="made", new_name="made_other", dry_run=True)
    await service.call("rename_index", name="t_pkey", new_name="x", schema="made", dry_run=True)
    await service.call("rename_enum", name="mode", new_name="x", schema="made", dry_run=True)
    assert await names() == first
    index = await service.call("rename_index", name="t_pkey", new_name="key", schema="made")
    enum = await service.call("rename_enum", name="mode", new_name="kind", schema="made")
    schema = await service.call("rename_schema", name="made", new_name="made_other")
    other = ["index made_other.key", "table made_other.t", "type made_other.kind"]
    assert await names() == other
    for done in (schema, enum, index):
        await take_back(owner, done)
    assert await names() == first


async def test_the_changes_are_kept_and_recorded(service: Caller, owner: Owner) -> None:
    await owner.execute("TRUNCATE platform.schema_changes; TRUNCATE platform.audit")
    change = {"table": "made_table", "column": "title", "nullable": True}
    done = await service.call("alter_column", **change)
    await service.call("alter_column", **change, dry_run=True)
    kept = (await service.call("list_schema_changes"))["changes"]
    assert [(c["action"], c["target"]) for c in kept] == [("alter_column", "public.made_table")]
    assert (kept[0]["up"], kept[0]["down"]) == (done["up"], done["down"])
    notes = await owner.fetch("SELECT action, target FROM platform.audit WHERE outcome = 'ok'")
    assert ("alter_column", "public.made_table") in {tuple(note) for note in notes}


async def test_a_table_is_protected_and_described(service: Caller, owner: Owner) -> None:
    state = (
        "SELECT relrowsecurity, obj_description(oid) FROM pg_class "
        "WHERE oid = 'public.made_other'::regclass"
    )
    await owner.execute(
        "CREATE TABLE public.made_other (id int); COMMENT ON TABLE public.made_other IS 'it''s old'"
    )
    words = "what it's for \\ '; DROP TABLE made_other; --"
    tried = await service.call(
        "alter_table", table="made_other", row_level_security=True, comment=words, dry_run=True
    )
    assert tuple(await owner.fetchrow(state) or ()) == (False, "it's old")
    done = await service.call(
        "alter_table", table="made_other", row_level_security=True, comment=words
    )
    assert done["up"] == tried["up"]
    assert tuple(await owner.fetchrow(state) or ()) == (True, words)
    await owner.execute(done["down"])
    assert tuple(await owner.fetchrow(state) or ()) == (False, "it's old")
    await service.call("alter_table", table="made_other", comment="")
    assert tuple(await owner.fetchrow(state) or ()) == (False, None)
    for wrong, code in (
        ({"table": "made_other"}, "FLX101"),
        ({"table": "nowhere", "comment": "x"}, "FLX201"),
        ({"table": "made_other", "comment": "a\x00b"}, "FLX101"),
        ({"table": "queue", "schema": "vectors", "row_level_security": False}, "FLX302"),
    ):
        error = await refused(service, "alter_table", **wrong)
        assert error.code == code, wrong
