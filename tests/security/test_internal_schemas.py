"""Schemas of the server are hidden from client keys by every door, whatever grants they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.config.model import INTERNAL_SCHEMAS
from tests.world import USER1, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

TABLE: Final = "seen_by_all"


@pytest.fixture
async def opened(owner: Owner, backend: Backend) -> AsyncGenerator[None]:
    """In each of the schemas a table that Postgres would show to everybody."""
    made: list[str] = []
    there = {row["nspname"] for row in await owner.fetch("SELECT nspname FROM pg_namespace")}
    for schema in INTERNAL_SCHEMAS:
        if schema not in there:
            made.append(schema)
            await owner.execute(f"CREATE SCHEMA {schema}")
        await owner.execute(
            f"CREATE TABLE {schema}.{TABLE} (id int PRIMARY KEY, body text, "
            f"v extensions.vector(2)); INSERT INTO {schema}.{TABLE} VALUES (1, 'kept', '[1,0]'); "
            f"ALTER TABLE {schema}.{TABLE} ENABLE ROW LEVEL SECURITY; "
            f"CREATE POLICY open ON {schema}.{TABLE} USING (true) WITH CHECK (true); "
            f"GRANT ALL ON {schema}.{TABLE} TO authenticated, service_role; "
            f"GRANT USAGE ON SCHEMA {schema} TO authenticated, service_role"
        )
    backend.database.catalog.forget()
    yield
    for schema in INTERNAL_SCHEMAS:
        await owner.execute(f"DROP TABLE {schema}.{TABLE}")
        if schema not in ("auth", "storage"):
            await owner.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM authenticated")
    for schema in made:
        await owner.execute(f"DROP SCHEMA {schema}")


@pytest.fixture
async def client(
    backend: Backend, http: httpx2.AsyncClient, opened: None
) -> AsyncGenerator[Caller]:
    issued = await backend.keys.create("client_key", NewKey("all scopes", ("*",), user_id=USER1))
    yield Caller("all scopes", issued.id, issued.key, http)
    await backend.keys.revoke("client_key", issued.id)


def asked(schema: str) -> list[tuple[str, dict[str, Any]]]:
    name = f"{schema}.{TABLE}"
    row = {"id": 2, "body": "new"}
    return [
        ("query_table", {"table": name}),
        ("query_table", {"table": "notes", "select": f"id,{TABLE}(id)"}),
        ("count_records", {"table": name}),
        ("insert_record", {"table": name, "data": row}),
        ("update_record", {"table": name, "data": {"body": "x"}, "filter": {"id": 1}}),
        ("delete_record", {"table": name, "filter": {"id": 1}}),
        ("describe_table", {"table": name}),
        ("list_policies", {"table": name}),
        ("search_vectors", {"table": name, "embedding": [1, 0]}),
        ("execute_sql", {"sql": f"SELECT id FROM {name}", "description": "try"}),
        ("explain_query", {"sql": f"SELECT id FROM {name}"}),
        (
            "execute_sql",
            {"sql": f"DELETE FROM {name} WHERE id = 1", "description": "try", "write": True},
        ),
    ]


@pytest.mark.parametrize("schema", INTERNAL_SCHEMAS)
async def test_no_tool_reaches_a_schema_of_the_server(
    client: Caller, owner: Owner, schema: str
) -> None:
    for tool, arguments in asked(schema):
        with pytest.raises(Refused) as caught:
            await client.call(tool, **arguments)
        assert caught.value.code in ("FLX101", "FLX201", "FLX203"), (tool, caught.value.message)
        assert "kept" not in str(caught.value.answer)
    kept = await owner.fetch(f"SELECT id, body FROM {schema}.{TABLE}")
    assert [tuple(row) for row in kept] == [(1, "kept")]


async def test_no_list_names_one(client: Caller) -> None:
    schemas = (await client.call("list_schemas"))["schemas"]
    assert not {s["name"] for s in schemas} & set(INTERNAL_SCHEMAS)
    tables = (await client.call("list_tables", limit=1000))["tables"]
    assert not {t["schema"] for t in tables} & set(INTERNAL_SCHEMAS)
    for answer in (
        await client.call("list_policies"),
        await client.call("generate_types"),
        await client.call("list_collections"),
        await client.rpc("resources/list"),
        await client.rpc("resources/read", uri="fluxbase://schema/tables"),
    ):
        assert TABLE not in str(answer)


@pytest.mark.parametrize("schema", INTERNAL_SCHEMAS)
async def test_no_resource_reads_one(client: Caller, schema: str) -> None:
    answer = await client.rpc("resources/read", uri=f"fluxbase://schema/tables/{schema}/{TABLE}")
    assert answer["error"]["data"]["code"] in ("FLX201", "FLX402")


async def test_control_administrators_read_them(service: Caller, opened: None) -> None:
    for schema in INTERNAL_SCHEMAS:
        assert len(await service.rows(f"{schema}.{TABLE}", select="id")) == 1
        uri = f"fluxbase://schema/tables/{schema}/{TABLE}"
        assert "result" in await service.rpc("resources/read", uri=uri)
    listed = (await service.call("list_tables", limit=1000))["tables"]
    assert {t["schema"] for t in listed} >= set(INTERNAL_SCHEMAS)
