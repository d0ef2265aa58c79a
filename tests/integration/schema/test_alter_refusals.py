"""What cannot be changed is refused in words of its own, and no argument is more than it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.schema.made import COLUMNS, clean, refused, state

if TYPE_CHECKING:
    import asyncpg

    from tests.world import Caller

    Owner = asyncpg.Connection[asyncpg.Record]

__all__ = ["clean"]
LONG = "é" * 40  # 40 characters, 80 bytes
SETUP = """
INSERT INTO public.made_table (title, owner, plain) VALUES ('a', gen_random_uuid(), 'no number');
ALTER TABLE public.made_table ADD serial bigint GENERATED ALWAYS AS IDENTITY;
CREATE POLICY adding ON public.made_table FOR INSERT WITH CHECK (true);
CREATE POLICY seeing ON public.made_table FOR SELECT USING (price > 0);
CREATE DOMAIN public.made_domain AS text;
CREATE VIEW public.made_view AS SELECT title FROM public.made_table;
"""


@pytest.fixture(autouse=True)
async def made(service: Caller, owner: Owner, clean: None) -> None:
    await service.call("create_enum", name="made_state", values=["open", "it's"])
    await service.call("create_table", name="made_table", columns=COLUMNS)
    await owner.execute(SETUP)


def column(name: str, **to: Any) -> dict[str, Any]:
    return {"table": "made_table", "column": name, **to}


def policy(name: str, **to: Any) -> dict[str, Any]:
    return {"table": "made_table", "name": name, **to}


def enum(**to: Any) -> dict[str, Any]:
    return {"name": "made_state", **to}


@pytest.mark.parametrize(
    ("tool", "arguments", "word"),
    [
        ("alter_column", column("price"), "one is needed"),
        ("alter_column", column("price", default_value="1", drop_default=True), "only one"),
        ("alter_column", column("price", using="1"), "goes with type"),
        ("alter_column", column("price", nullable=None), "one is needed"),
        ("alter_column", column("none", nullable=True), "no such column"),
        ("alter_column", column("price", type="serial"), "no such type"),
        ("alter_column", column("price", type="public.none"), "no such type"),
        ("alter_column", column("id", type="varchar(3,1)"), "length"),
        ("alter_column", column("tags", type="integer"), "using"),
        ("alter_column", column("state", type="boolean"), "default"),
        ("alter_column", column("serial", default_value="1"), "identity"),
        ("alter_column", column("serial", nullable=True), "identity"),
        ("alter_column", column("shout", default_value="1"), "generated"),
        ("alter_column", column("shout", type="varchar", using="plain"), "generated"),
        ("alter_column", column("plain", type="varchar"), "generated column"),
        ("alter_column", column("title", type="varchar"), "view"),
        ("alter_column", column("price", type="real"), "policy"),
        ("alter_column", column("id", nullable=True), "primary key"),
        ("alter_column", column("place", nullable=False), "empty"),
        ("alter_column", column("place", type="text", using="(SELECT 'a')"), "subquery"),
        ("alter_column", column("place", type="text", using="none"), "no such column"),
        ("alter_column", column("place", type="integer", using="count(*)"), "aggregates"),
        ("alter_column", column("place", default_value="title"), "Postgres does not do this"),
        ("alter_column", column("state", default_value="'nothing'"), "does not fit"),
        ("alter_column", column("tags", type="date", using="tags[1]::date"), "does not fit"),
        (
            "alter_column",
            column("tags", type="int", using="plain::int", drop_default=True),
            "does not fit",
        ),
        (
            "alter_column",
            column("tags", type="char(1)", using="plain", drop_default=True),
            "does not fit",
        ),
        ("alter_column", {"table": "all_notes", "column": "id", "type": "text"}, "view"),
        ("alter_policy", policy("seeing"), "at least one"),
        ("alter_policy", policy("none", using="true"), "no such"),
        ("alter_policy", policy("adding", using="true"), "inserted"),
        ("alter_policy", policy("seeing", check="true"), "are there"),
        ("alter_policy", policy("seeing", roles=["nobody_at_all"]), "role"),
        ("alter_policy", policy("seeing", using="none = 1"), "no such column"),
        ("alter_policy", policy("seeing", using="title"), "type"),
        ("alter_policy", policy("seeing", using="count(*) > 1"), "aggregates"),
        ("alter_policy", policy("seeing", using="row_number() OVER () > 1"), "window"),
        ("alter_policy", policy(LONG, using="true"), "bytes"),
        ("alter_policy", policy("", using="true"), "bytes"),
        ("rename_policy", policy("none", new_name="other"), "no such"),
        ("rename_policy", policy("seeing", new_name="adding"), "already"),
        ("rename_policy", policy("seeing", new_name=LONG), "new_name"),
        ("alter_enum", enum(), "is needed"),
        ("alter_enum", enum(rename_value="open"), "new_value"),
        ("alter_enum", enum(new_value="open"), "rename_value"),
        ("alter_enum", enum(add_value="a", rename_value="open", new_value="b"), "only one"),
        ("alter_enum", enum(add_value="a", before="open", after="open"), "only one"),
        ("alter_enum", enum(rename_value="open", new_value="a", after="it's"), "add_value"),
        ("alter_enum", enum(add_value="open"), "already"),
        ("alter_enum", enum(add_value="a", before="none"), "no such value"),
        ("alter_enum", enum(add_value=LONG), "bytes"),
        ("alter_enum", enum(rename_value="none", new_value="a"), "no such value"),
        ("alter_enum", enum(rename_value="open", new_value="it's"), "already"),
        ("alter_enum", {"name": "none", "add_value": "a"}, "no such enum"),
        ("alter_enum", {"name": "made_domain", "add_value": "a"}, "no such enum"),
        ("rename_enum", {"name": "none", "new_name": "a"}, "no such enum"),
        ("rename_enum", {"name": "made_domain", "new_name": "a"}, "no such enum"),
        ("rename_enum", {"name": "made_table", "new_name": "a"}, "no such enum"),
        ("rename_enum", {"name": "made_state", "new_name": "mood"}, "already"),
        ("rename_index", {"name": "none", "new_name": "a"}, "no such index"),
        ("rename_index", {"name": "made_table", "new_name": "a"}, "no such index"),
        ("rename_index", {"name": "made_view", "new_name": "a"}, "no such index"),
        ("rename_index", {"name": "made_table_pkey", "new_name": "notes_rank"}, "already"),
        ("rename_schema", {"name": "none", "new_name": "a"}, "no such schema"),
        ("rename_schema", {"name": "hidden", "new_name": "public"}, "already"),
    ],
)
async def test_what_cannot_be_is_refused_in_words_of_its_own(
    service: Caller, owner: Owner, tool: str, arguments: dict[str, Any], word: str
) -> None:
    before = await state(owner)
    error = await refused(service, tool, **arguments)
    assert error.code in ("FLX101", "FLX506", "FLX602"), error.message
    assert word in error.message
    assert await state(owner) == before


@pytest.mark.parametrize("tool", ["alter_column", "alter_policy", "rename_policy"])
async def test_a_table_that_is_not_there_is_told_so(service: Caller, tool: str) -> None:
    more = {
        "alter_column": {"column": "a", "nullable": True},
        "alter_policy": {"name": "a", "using": "true"},
        "rename_policy": {"name": "a", "new_name": "b"},
    }[tool]
    assert (await refused(service, tool, table="none", **more)).code == "FLX201"


EVIL = "x; DROP TABLE public.notes; --"
QUOTED = '" ON public.notes; DROP TABLE public.notes; --'
CLOSED = "true); DROP TABLE public.notes; --"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("alter_column", {"table": EVIL, "column": "price", "nullable": True}),
        ("alter_column", {"table": 'made_table" --', "column": "price", "nullable": True}),
        ("alter_column", column(EVIL, nullable=True)),
        ("alter_column", column("price", type=EVIL)),
        ("alter_column", column("price", type="text USING title")),
        ("alter_column", column("price", type="regclass")),
        ("alter_column", column("price", type="auth.users")),
        ("alter_column", column("price", type="text", using=CLOSED)),
        ("alter_column", column("price", type="text", using="title, DROP COLUMN id")),
        ("alter_column", column("price", type="text", using="pg_read_file('/etc/passwd')")),
        ("alter_column", column("price", type="text", using="set_config('role', 'x', true)")),
        ("alter_column", column("price", default_value="1; DROP TABLE public.notes")),
        ("alter_column", column("price", default_value="1), DROP COLUMN id, ADD y int DEFAULT (2")),
        ("alter_column", column("price", default_value="pg_sleep(1)")),
        ("alter_column", column("price", nullable="true; DROP TABLE public.notes")),
        ("alter_column", column("price", nullable=True, schema=EVIL)),
        ("alter_policy", policy("seeing", using=CLOSED)),
        ("alter_policy", policy("seeing", using="pg_read_file('/etc/passwd') = ''")),
        ("alter_policy", policy("adding", check=CLOSED)),
        ("alter_policy", policy("adding", check="true) WITH CHECK (false")),
        ("alter_policy", policy("seeing", roles=["anon USING (true)"])),
        ("alter_policy", policy("seeing", roles=['anon"; DROP TABLE public.notes; --'])),
        ("alter_policy", policy(QUOTED, using="true")),
        ("alter_policy", policy("a\x00b", using="true")),
        ("alter_policy", {"table": EVIL, "name": "seeing", "using": "true"}),
        ("alter_policy", policy("seeing", using="true", schema=EVIL)),
        ("drop_policy", policy("a\x00b")),
        ("rename_policy", policy(QUOTED, new_name="a")),
        ("rename_policy", policy("seeing", new_name="a\x00b")),
        ("rename_policy", {"table": EVIL, "name": "seeing", "new_name": "a"}),
        ("rename_policy", policy("seeing", new_name="a", schema=EVIL)),
        ("alter_enum", {"name": EVIL, "add_value": "a"}),
        ("alter_enum", enum(add_value="a\x00b")),
        ("alter_enum", enum(add_value="a", before="open'; DROP TABLE public.notes; --")),
        ("alter_enum", enum(add_value="a", after="open'; DROP TABLE public.notes; --")),
        ("alter_enum", enum(rename_value="open' TO 'b'; --", new_value="a")),
        ("alter_enum", enum(add_value="a", schema=EVIL)),
        ("rename_schema", {"name": EVIL, "new_name": "a"}),
        ("rename_schema", {"name": "hidden", "new_name": EVIL}),
        ("rename_index", {"name": EVIL, "new_name": "a"}),
        ("rename_index", {"name": "made_table_pkey", "new_name": EVIL}),
        ("rename_index", {"name": "made_table_pkey", "new_name": "a", "schema": EVIL}),
        ("rename_enum", {"name": EVIL, "new_name": "a"}),
        ("rename_enum", enum(new_name=EVIL)),
        ("rename_enum", enum(new_name="a", schema=EVIL)),
    ],
)
async def test_no_argument_is_more_than_what_it_stands_for(
    service: Caller, owner: Owner, tool: str, arguments: dict[str, Any]
) -> None:
    before = await state(owner)
    error = await refused(service, tool, **arguments)
    assert error.code in ("FLX101", "FLX302"), error.message
    assert await state(owner) == before
    assert await owner.fetchval("SELECT count(*) FROM public.notes") == 17


async def test_what_may_be_any_text_is_quoted(service: Caller, owner: Owner) -> None:
    await service.call("rename_policy", **policy("seeing", new_name=QUOTED))
    value = "open'); DROP TABLE public.notes; --"
    await service.call("alter_enum", **enum(add_value=value))
    await service.call("alter_enum", **enum(rename_value=value, new_value=rf"\'; {value}"))
    after = await state(owner)
    assert set(after["policies"]) == {"adding", QUOTED}
    assert after["values"] == ["open", "it's", rf"\'; {value}"]
    assert await owner.fetchval("SELECT count(*) FROM public.notes") == 17


@pytest.mark.parametrize(
    "schema",
    ["auth", "storage", "platform", "jobs", "pg_catalog", "extensions", "information_schema"],
)
async def test_the_server_s_own_schemas_are_out_of_reach(service: Caller, schema: str) -> None:
    for tool, arguments in (
        ("alter_column", {"table": "users", "column": "id", "nullable": True, "schema": schema}),
        ("alter_column", column("price", type=f"{schema}.kind")),
        ("alter_policy", {"table": "objects", "name": "own", "using": "true", "schema": schema}),
        ("rename_policy", {"table": "objects", "name": "a", "new_name": "b", "schema": schema}),
        ("alter_enum", {"name": "kind", "add_value": "a", "schema": schema}),
        ("alter_enum", {"name": "k", "rename_value": "a", "new_value": "b", "schema": schema}),
        ("rename_index", {"name": "objects_pkey", "new_name": "a", "schema": schema}),
        ("rename_enum", {"name": "kind", "new_name": "a", "schema": schema}),
        ("rename_schema", {"name": schema, "new_name": "made"}),
        ("rename_schema", {"name": "hidden", "new_name": schema}),
    ):
        assert (await refused(service, tool, **arguments)).code == "FLX302", (tool, schema)


async def test_only_service_keys_with_the_scope_have_these(user1: Caller) -> None:
    for tool, arguments in (
        ("alter_column", column("price", nullable=True)),
        ("alter_policy", policy("seeing", using="true")),
        ("rename_policy", policy("seeing", new_name="a")),
        ("alter_enum", enum(add_value="a")),
        ("rename_schema", {"name": "hidden", "new_name": "a"}),
        ("rename_index", {"name": "made_table_pkey", "new_name": "a"}),
        ("rename_enum", enum(new_name="a")),
    ):
        assert (await refused(user1, tool, **arguments)).code == "FLX401"


async def test_words_for_one_kind_do_not_change_another(
    service: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await owner.execute(
        "CREATE SCHEMA made; CREATE TABLE made.t (id int PRIMARY KEY); "
        "CREATE DOMAIN made.d AS int; CREATE TYPE made.c AS (x int); "
        "CREATE VIEW made.v AS SELECT 1 AS x"
    )
    for tool, arguments, code in (
        ("rename_table", {"table": "t_pkey", "new_name": "x"}, "FLX201"),
        ("rename_table", {"table": "v", "new_name": "x"}, "FLX201"),
        ("drop_enum", {"name": "d"}, "FLX101"),
        ("drop_enum", {"name": "c"}, "FLX101"),
    ):
        error = await refused(service, tool, schema="made", **arguments)
        assert error.code == code, (tool, arguments)
