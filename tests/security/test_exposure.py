"""What is not a key's own cannot be read, filtered by, counted, described or inferred.

The tables of `shop` stand in a schema that only the server of this module exposes.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.db.catalog import Catalog
from fluxbase.db.database import Database
from tests.conftest import config_for
from tests.security.conftest import server_on
from tests.world import USER1, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend

SHOP: Final = """
CREATE SCHEMA shop;
CREATE SCHEMA backroom;
GRANT USAGE ON SCHEMA shop, backroom TO authenticated;
CREATE TABLE backroom.suppliers (id int PRIMARY KEY, backroom_name text);
CREATE SEQUENCE backroom.numbers;
CREATE VIEW backroom.everything AS SELECT id, title FROM public.notes;
GRANT SELECT ON backroom.everything TO authenticated;
CREATE FUNCTION backroom.next_number() RETURNS int LANGUAGE sql AS 'SELECT 7';

CREATE TABLE shop.orders (
  id int PRIMARY KEY DEFAULT backroom.next_number(),
  user_id uuid NOT NULL DEFAULT auth.uid(),
  supplier_id int REFERENCES backroom.suppliers,
  margin int NOT NULL DEFAULT 3,
  twice int GENERATED ALWAYS AS (margin * 2) STORED,
  price int,
  UNIQUE (margin, price)
);
CREATE INDEX by_margin ON shop.orders (margin);
CREATE INDEX by_price_and_margin ON shop.orders (price, margin);
CREATE INDEX by_expression ON shop.orders ((margin + 1));
CREATE INDEX by_price ON shop.orders (price);
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.orders USING (user_id = (SELECT auth.uid()) AND margin < 1000);
GRANT SELECT (id, user_id, supplier_id, price, twice), INSERT (id, price, supplier_id),
  UPDATE (price), DELETE ON shop.orders TO authenticated;
INSERT INTO backroom.suppliers VALUES (1, 'a supplier');
INSERT INTO shop.orders (id, user_id, margin, price, supplier_id)
  SELECT n, ('00000000-0000-4000-8000-00000000000' || 1 + n % 2)::uuid, n, n, 1
  FROM generate_series(1, 6) n;

CREATE TABLE shop.lines (id int PRIMARY KEY, body text);
GRANT SELECT, INSERT ON shop.lines TO authenticated;
CREATE VIEW shop.nested WITH (security_invoker = true) AS SELECT * FROM backroom.everything;
CREATE VIEW shop.twice_nested WITH (security_invoker = true) AS SELECT * FROM shop.nested;
CREATE VIEW shop.over_lines WITH (security_invoker = true) AS SELECT * FROM shop.lines;
CREATE VIEW shop.over_system WITH (security_invoker = true) AS SELECT rolname FROM pg_roles;
CREATE VIEW shop.honest WITH (security_invoker = true) AS SELECT id, price FROM shop.orders;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO authenticated;
REVOKE SELECT ON shop.orders FROM authenticated;
GRANT SELECT (id, user_id, supplier_id, price, twice) ON shop.orders TO authenticated;
CREATE ROLE shopkeeper NOLOGIN;
GRANT shopkeeper TO CURRENT_USER;
GRANT USAGE, CREATE ON SCHEMA shop TO shopkeeper;
CREATE TABLE shop.till (id int PRIMARY KEY, user_id uuid);
ALTER TABLE shop.till ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.till USING (user_id = (SELECT auth.uid()));
INSERT INTO shop.till SELECT n, auth.uid() FROM generate_series(1, 3) n;
"""
CLOSE: Final = """
DROP SCHEMA shop, backroom CASCADE;
DROP ROLE shopkeeper;
"""


@asynccontextmanager
async def opened(
    backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> AsyncGenerator[dict[str, Caller]]:
    """Serve with a catalog of its own that exposes `shop` beside `public`; yield every caller."""
    config = config_for(home, database={"exposed_schemas": ["public", "shop"]})
    database = Database(config.database, backend.database.logins)
    await database.open()
    try:
        async with server_on(backend, database) as http:
            yield {name: Caller(name, id_, key, http) for name, (id_, key) in keys.items()}
    finally:
        await database.close()


@pytest.fixture(scope="module")
async def shop(
    backend: Backend, home: Path, owner: Any, keys: dict[str, tuple[str, str]]
) -> AsyncGenerator[dict[str, Caller]]:
    """Every caller, of a server that exposes `shop`."""
    await owner.execute(SHOP)
    async with opened(backend, home, keys) as callers:
        yield callers
    await owner.execute(CLOSE)


HIDDEN = [
    "auth.api_keys", "auth.current_key", "platform.audit", "platform.system_migrations",
    "pg_roles", "pg_catalog.pg_class", "pg_settings", "information_schema.tables",
    "extensions.vector", "hidden.vault", "vault", "unprotected", "public.unprotected",
    "ungranted", "all_notes", "frozen_notes", "notes_secret", "notes_id_seq",
    "backroom.suppliers", "backroom.everything", "shop.lines", "shop.nested", "shop.twice_nested",
    "shop.over_lines", "shop.over_system", "shop.till", "notes.secret",
]  # fmt: skip
NONSENSE = "nothing_like_any_name_42"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("query_table", {}),
    ("query_table", {"select": "id", "count": "exact"}),
    ("query_table", {"filter": {"id": "eq.1"}, "order": "id"}),
    ("count_records", {}),
    ("describe_table", {}),
    ("insert_record", {"data": {"id": 1}}),
    ("insert_record", {"data": {"id": 1}, "on_conflict": "id", "returning": ""}),
    ("update_record", {"data": {"id": 1}, "filter": {"id": 1}}),
    ("delete_record", {"filter": {"id": 1}}),
]


async def bytes_of(caller: Caller, tool: str, **arguments: Any) -> bytes:
    """Return the whole body of a call."""
    params = {"name": tool, "arguments": arguments}
    return (
        await caller.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    ).content


@pytest.mark.parametrize("table", HIDDEN)
async def test_a_hidden_table_answers_exactly_like_one_that_does_not_exist(
    table: str, shop: dict[str, Caller]
) -> None:
    for tool, arguments in CALLS:
        there = await bytes_of(shop["user1"], tool, table=table, **arguments)
        # The suggestion depends on the word asked alone, so the twin resembles it in length only.
        nowhere = await bytes_of(shop["user1"], tool, table=NONSENSE, **arguments)
        assert _without_guess(there) == _without_guess(nowhere), (table, tool)


def _without_guess(body: bytes) -> Any:
    answer = json.loads(body)["result"]
    text = answer["_meta"]["fluxbase/error"]["message"]
    guess = text.partition("; did you mean '")[2].removesuffix("'?")
    assert guess in (
        "",
        "notes",
        "news",
        "inbox",
        "comments",
        "my_notes",
        "shop.orders",
        "shop.honest",
    )
    return {**answer["_meta"]["fluxbase/error"], "message": text.partition(";")[0]}


async def test_a_hidden_table_is_in_no_list_and_no_resource(shop: dict[str, Caller]) -> None:
    user1 = shop["user1"]
    listed = await user1.call("list_tables", limit=1000)
    names = {f"{t['schema']}.{t['name']}" for t in listed["tables"]}
    assert names == {
        "public.comments", "public.inbox", "public.my_notes", "public.news", "public.notes",
        'public.odd "name" ☃', "shop.honest", "shop.orders",
    }  # fmt: skip
    for schema in ("auth", "platform", "hidden", "backroom", "pg_catalog", NONSENSE):
        assert await user1.call("list_tables", schema=schema) == {"tables": [], "next_offset": None}
    text = (await user1.rpc("resources/read", uri="fluxbase://schema/tables"))["result"]
    read = json.loads(text["contents"][0]["text"])
    assert {f"{t['schema']}.{t['name']}" for t in read["tables"]} == names
    refused = await user1.rpc("resources/read", uri=f"fluxbase://schema/tables/shop/{NONSENSE}")
    for table in HIDDEN:
        schema, _, name = table.rpartition(".")
        uri = f"fluxbase://schema/tables/{schema or 'public'}/{name}"
        assert await user1.rpc("resources/read", uri=uri) == refused, uri


COLUMN_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("query_table", {"select": "COLUMN"}),
    ("query_table", {"select": "id,COLUMN"}),
    ("query_table", {"select": '"COLUMN"'}),
    ("query_table", {"filter": {"COLUMN": "eq.1"}}),
    ("query_table", {"filter": {"COLUMN": "is.null"}}),
    ("query_table", {"filter": {"COLUMN": 1}}),
    ("query_table", {"filter": {"COLUMN": {"not": {"eq": 1}}}, "count": "exact"}),
    ("query_table", {"order": "COLUMN"}),
    ("query_table", {"order": "id,COLUMN.desc"}),
    ("count_records", {"filter": {"COLUMN": "gt.0"}}),
    ("insert_record", {"data": {"COLUMN": 1}}),
    ("insert_record", {"data": {"price": 1}, "returning": "COLUMN"}),
    ("insert_record", {"data": {"price": 1}, "on_conflict": "COLUMN"}),
    ("insert_record", {"data": {"price": 1}, "on_conflict": "COLUMN,price"}),
    ("update_record", {"data": {"COLUMN": 1}, "filter": {"id": 2}}),
    ("update_record", {"data": {"price": 1}, "filter": {"COLUMN": 2}}),
    ("update_record", {"data": {"price": 1}, "filter": {"id": 2}, "returning": "COLUMN"}),
    ("delete_record", {"filter": {"COLUMN": "eq.2"}}),
    ("delete_record", {"filter": {"id": 2}, "returning": "COLUMN"}),
]


@pytest.mark.parametrize(("tool", "arguments"), COLUMN_CALLS, ids=lambda v: str(v)[:70])
async def test_a_hidden_column_answers_exactly_like_one_that_does_not_exist(
    tool: str, arguments: dict[str, Any], shop: dict[str, Caller], owner: Any
) -> None:
    before = await owner.fetch("SELECT * FROM shop.orders ORDER BY id")
    answers: list[bytes] = []
    for column in ("margin", "zzargi"):  # as long, and as near to no other name
        asked = json.loads(json.dumps(arguments).replace("COLUMN", column))
        body = await bytes_of(shop["user1"], tool, table="shop.orders", **asked)
        answers.append(body.replace(column.encode(), b"COLUMN"))
    assert answers[0] == answers[1]
    assert b"FLX202" in answers[0]
    assert await owner.fetch("SELECT * FROM shop.orders ORDER BY id") == before


async def test_no_description_names_a_hidden_column_or_table(shop: dict[str, Caller]) -> None:
    described = await shop["user1"].call("describe_table", table="shop.orders")
    uri = "fluxbase://schema/tables/shop/orders"
    resource = (await shop["user1"].rpc("resources/read", uri=uri))["result"]["contents"][0]["text"]
    assert json.loads(resource) == described
    # A policy that names what the caller cannot read is told of without its expression.
    assert [(p["name"], p["using"]) for p in described["policies"]] == [("own", None)]
    for column in described["columns"]:
        # An expression over a hidden column is left out; that there is a function is not a secret.
        assert column["name"] == "twice" or "margin" not in str(column["default"])
    generated = next(c for c in described["columns"] if c["name"] == "twice")
    assert generated["default"] is None
    text = json.dumps(described).replace("twice", "")
    assert "margin" not in text
    assert "suppliers" not in text
    assert described["foreign_keys"] == []
    assert [i["name"] for i in described["indexes"]] == ["by_price", "orders_pkey"]
    listed = json.dumps(await shop["user1"].call("list_tables", schema="shop"))
    assert "margin" not in listed.replace("twice", "")


async def test_a_row_of_others_tells_nothing_but_that_its_key_is_taken(
    user1: Caller, user2: Caller
) -> None:
    # Accepted: a unique key and a foreign key are checked over all rows, whoever owns them, so an
    # insert tells whether a key is taken. Postgres has no other way, and the guide says to put the
    # owner into the key (`UNIQUE (user_id, title)`). Nothing else of the row may come out.
    taken = {"id": 1, "title": "x"}
    with pytest.raises(Refused) as refused:
        await user2.call("insert_record", table="notes", data=taken)
    assert refused.value.message == "a row with the same key exists already (notes_pkey)"
    with pytest.raises(Refused) as refused:
        await user2.call("insert_record", table="notes", data=taken, on_conflict="id")
    assert refused.value.message == "a row-level security policy refuses the row"
    ignored = await user2.call(
        "insert_record", table="notes", data=taken, on_conflict="id", on_conflict_action="ignore"
    )
    assert ignored == {
        "inserted": 0,
        "records": [],
        "truncated": False,
        "dry_run": False,
    }
    # The owner is part of this key, so two tenants never meet in it.
    await user2.call("insert_record", table="notes", data={"title": "user1 note 1"})
    with pytest.raises(Refused) as refused:
        await user2.call("insert_record", table="comments", data={"note_id": 424242, "body": "x"})
    assert "comments_note_id_fkey" in refused.value.message
    assert "424242" not in json.dumps(refused.value.answer)
    for caller, own in ((user1, 10), (user2, 8)):
        assert await caller.call("count_records", table="notes") == {"count": own}


@pytest.mark.parametrize(
    "arguments",
    [
        {"offset": -1}, {"offset": 2**53 + 1}, {"offset": 1.5}, {"offset": "x"}, {"offset": None},
        {"limit": 0}, {"limit": -5}, {"limit": 10**6}, {"limit": None}, {"count": "guessed"},
        {"count": True}, {"select": None}, {"filter": []}, {"nope": 1},
    ],
    ids=str,
)  # fmt: skip
async def test_numbers_out_of_range_are_refused_by_name(
    arguments: dict[str, Any], user1: Caller
) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", **arguments)
    assert refused.value.code == "FLX101"
    assert next(iter(arguments)) in refused.value.message


async def test_a_huge_offset_shows_nothing_and_counts_only_own_rows(user1: Caller) -> None:
    page = await user1.call("query_table", table="notes", offset=2**53, count="exact")
    assert page == {"rows": [], "truncated": False, "next_offset": None, "total": 10}


async def code_of(caller: Caller, table: str) -> str:
    try:
        await caller.rows(table)
    except Refused as refused:
        return refused.code
    return "seen"


async def becomes(caller: Caller, table: str, code: str) -> None:
    """Wait until the catalog has followed a change; it promises a second."""
    async with asyncio.timeout(5):
        while await code_of(caller, table) != code:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


async def test_a_role_that_owns_a_table_does_not_see_it_past_its_policies(
    shop: dict[str, Caller], backend: Backend, owner: Any
) -> None:
    # The key is made first: a base role that owns a table already is refused.
    new = NewKey("shopkeeper", ("read:tables",), role="shopkeeper", user_id=USER1)
    issued = await backend.keys.create("client_key", new)
    keeper = Caller("keeper", issued.id, issued.key, shop["user1"].http)
    try:
        await owner.execute("GRANT SELECT ON shop.till TO shopkeeper")
        await becomes(keeper, "shop.till", "seen")
        await owner.execute("ALTER TABLE shop.till OWNER TO shopkeeper")
        await becomes(keeper, "shop.till", "FLX201")
        await owner.execute(
            "SET ROLE shopkeeper; ALTER TABLE shop.till FORCE ROW LEVEL SECURITY; RESET ROLE"
        )
        await becomes(keeper, "shop.till", "seen")
        assert await keeper.rows("shop.till") == []  # forced policies bind the owner as well
    finally:
        await owner.execute("SET ROLE shopkeeper; DROP TABLE shop.till; RESET ROLE")
        await backend.keys.delete("client_key", issued.id)


def everything(*_: object) -> bool:
    return True


# Planted controls, each with a catalog of its own.


async def test_control_a_catalog_that_shows_everything_gives_hidden_tables_away(
    shop: Any, backend: Backend, home: Path, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Catalog, "_shown", everything)
    async with opened(backend, home, keys) as callers:
        names = {
            t["name"] for t in (await callers["user1"].call("list_tables", limit=1000))["tables"]
        }
    assert {"vault", "unprotected", "all_notes", "nested", "lines"} <= names


async def test_control_a_view_over_an_owner_s_view_shows_everybody_s_rows(
    shop: Any,
    callers: Any,
    backend: Backend,
    home: Path,
    keys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Catalog, "_shown", everything)
    async with opened(backend, home, keys) as opened_callers:
        rows = await opened_callers["user1"].rows("shop.nested", limit=1000)
    assert {row["title"].split()[0] for row in rows} == {"user1", "user2"}
