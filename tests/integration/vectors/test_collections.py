"""Collections are made, searched, written and taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.vectors.model import SIZE, Model, embedding
from tests.integration.vectors.papers import MADE, entry, filled, refused, search, until, write
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    Owner = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.usefixtures("papers")

WRONG: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"name": "Papers!"}, "FLX101", "name"),
    ({"table": "nothing"}, "FLX201", "no such table"),
    ({"table": "vectors.queue", "text_column": "collection"}, "FLX302", "internal"),
    ({"text_column": "nothing"}, "FLX202", "text_column"),
    ({"text_column": "id"}, "FLX101", "holds no text"),
    ({"tags_column": "pages"}, "FLX101", "text[]"),
    ({"tags_column": "nothing"}, "FLX202", "tags_column"),
    ({"embedding_column": "body"}, "FLX101", "holds no vectors"),
    ({"dimensions": None}, "FLX101", "dimensions"),
    ({"table": "passages", "dimensions": 3, "tags_column": None}, "FLX101", f"vectors of {SIZE}"),
    ({"dimensions": 5000}, "FLX101", "4000"),
    ({"index": "ivfflat", "metric": "l1"}, "FLX101", "l1"),
    ({"chunk_size": 60, "chunk_overlap": 60}, "FLX101", "less than chunk_size"),
    ({"chunk_size": 90_000}, "FLX101", "characters"),
]


async def test_long_texts_are_searched_by_their_parts(
    admin: Caller, one: Caller, two: Caller, owner: Owner
) -> None:
    long = (
        "The automobile needs new tyres and oil. " * 3 + "A kitten sleeps in the sun all day. " * 3
    )
    await write(owner, USER1, long)
    await write(owner, USER2, "Cats of somebody else")
    await owner.execute("UPDATE papers SET tags = '{red,blue}' WHERE user_id = $1", USER1)
    await admin.call("create_collection", **MADE, chunk_size=80, chunk_overlap=10)
    await filled(owner)
    assert "kitten" in (await search(one, query="feline", limit=1))[0]
    assert "automobile" in (await search(one, query="vehicle", limit=1))[0]
    assert await search(two, query="feline") == ["Cats of somebody else"]
    assert await search(one, query="feline", tags=["red", "green"]) == []
    assert await search(one, query="feline", tags=["red", "blue"]) != []
    told = await entry(one)
    assert (told["chunks"], told["chunk_size"]) == ("papers_chunks", 80)
    many = await owner.fetchval("SELECT count(*) FROM papers_chunks")
    assert many >= 4
    await owner.execute("UPDATE papers SET body = 'A dish' WHERE user_id = $1", USER1)
    await filled(owner)
    assert await search(one, query="meal") == ["A dish"]
    await owner.execute("DELETE FROM papers WHERE user_id = $1", USER1)
    assert await search(one, query="meal") == []
    assert await owner.fetchval("SELECT count(*) FROM papers_chunks") == 1


async def test_parts_are_hidden_from_those_who_may_not_read_the_table(
    admin: Caller, one: Caller, owner: Owner
) -> None:
    await owner.execute("REVOKE SELECT ON papers FROM authenticated")
    await owner.execute("GRANT SELECT (id) ON papers TO authenticated")
    await admin.call("create_collection", **MADE, chunk_size=80)
    assert (await one.call("list_collections"))["count"] == 0
    assert (await refused(one, "search_vectors", collection="papers", query="a")).code == "FLX206"


async def test_tags_narrow_a_search(admin: Caller, one: Caller, owner: Owner) -> None:
    await write(owner, USER1, "A car", "A cat")
    await owner.execute("UPDATE papers SET tags = CASE body WHEN 'A car' THEN '{x,y}'::text[] END")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    assert await search(one, query="cat", tags=["y"]) == ["A car"]
    assert await search(one, query="cat", tags=["y"], filter={"body": "eq.A cat"}) == []
    assert len(await search(one, query="cat", tags=[])) == 2


async def test_clients_give_vectors_themselves(
    admin: Caller, one: Caller, two: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    await admin.call("create_collection", **MADE)
    rows = [
        {"id": 1, "body": "first", "embedding": embedding("car")},
        {"id": 2, "body": "second", "embedding": embedding("cat")},
        {"id": 3, "body": "A dish"},
    ]
    before = len(model[1].asked)
    tried = await one.call("upsert_vectors", collection="papers", rows=rows, dry_run=True)
    assert tried == {"upserted": 3, "waiting": 1, "dry_run": True}
    assert await owner.fetchval("SELECT count(*) FROM papers") == 0
    await one.call("upsert_vectors", collection="papers", rows=rows)
    await filled(owner)
    assert await search(one, embedding=embedding("cat"), limit=1) == ["second"]
    assert [a["input"] for a in model[1].asked[before:]] == [["A dish"]]
    over = [{"id": 2, "body": "third", "embedding": embedding("car")}]
    await one.call("upsert_vectors", collection="papers", rows=over)
    assert await owner.fetchval("SELECT body FROM papers WHERE id = 2") == "third"
    error = await refused(two, "upsert_vectors", collection="papers", rows=over)
    assert error.code == "FLX302"
    for wrong in ([1.0], "text", [True] * SIZE, [1.0] * (SIZE + 1)):
        bad = [rows[0], {"id": 9, "body": "a", "embedding": wrong}]
        error = await refused(one, "upsert_vectors", collection="papers", rows=bad)
        assert (error.code, "rows[1]" in error.message) == ("FLX101", True)
    assert await owner.fetchval("SELECT count(*) FROM papers") == 3


async def test_without_a_model_clients_give_all_vectors(
    admin: Caller, one: Caller, serving: Callable[..., Any], owner: Owner
) -> None:
    async with serving() as http:
        admin.http = one.http = http
        error = await refused(admin, "create_collection", **MADE, chunk_size=80)
        assert "need a model" in error.message
        assert (await admin.call("create_collection", **MADE))["waiting"] == 0
        row: dict[str, Any] = {"id": 1, "body": "first"}
        error = await refused(one, "upsert_vectors", collection="papers", rows=[row])
        assert "no model" in error.message
        row["embedding"] = embedding("car")
        await one.call("upsert_vectors", collection="papers", rows=[row])
        assert await search(one, embedding=embedding("car")) == ["first"]
        assert await search(one, query="first", hybrid=True) == ["first"]
        error = await refused(admin, "reindex_collection", name="papers")
        assert "clients give" in error.message
    assert await owner.fetchval("SELECT count(*) FROM vectors.queue") == 0


@pytest.mark.parametrize(("change", "code", "said"), WRONG)
async def test_what_cannot_be_a_collection_is_told(
    admin: Caller, owner: Owner, change: dict[str, Any], code: str, said: str
) -> None:
    error = await refused(admin, "create_collection", **{**MADE, **change})
    assert error.code == code, error.message
    assert said in error.message
    assert await owner.fetchval("SELECT count(*) FROM vectors.collections") == 0


async def test_a_view_and_a_table_without_a_key_are_no_collections(
    admin: Caller, owner: Owner
) -> None:
    await owner.execute(
        "CREATE VIEW papers_seen WITH (security_invoker) AS SELECT * FROM papers; "
        "CREATE TABLE papers_bare (body text)"
    )
    try:
        for table, said in (("papers_seen", "not of a view"), ("papers_bare", "primary key")):
            wanted = {**MADE, "table": table, "tags_column": None}
            assert said in (await refused(admin, "create_collection", **wanted)).message
    finally:
        await owner.execute("DROP VIEW papers_seen; DROP TABLE papers_bare")


async def test_a_collection_is_tried_and_taken_away_again(
    admin: Caller, one: Caller, owner: Owner
) -> None:
    await write(owner, USER1, "A car")
    tried = await admin.call("create_collection", **MADE, dry_run=True)
    assert (tried["waiting"], tried["created"]) == (1, False)
    columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'papers'::regclass AND attnum > 0"
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'papers'::regclass"
    before = await owner.fetchval(columns)
    assert await owner.fetchval(triggers) == 0
    await admin.call("create_collection", **MADE)
    error = await refused(admin, "create_collection", **MADE)
    assert (error.code, "already" in error.message) == ("FLX506", True)
    await filled(owner)
    await admin.call("delete_collection", name="papers")
    assert await owner.fetchval(triggers) == 0
    assert await owner.fetchval(columns) == before + 1
    assert (await refused(one, "search_vectors", collection="papers", query="a")).code == "FLX206"
    assert (await refused(admin, "delete_collection", name="papers")).code == "FLX206"
    await admin.call("create_collection", **MADE, chunk_size=80)
    [kept] = (await admin.call("list_schema_changes", limit=1))["changes"]
    assert (kept["action"], kept["target"]) == ("create_collection", "papers")
    await owner.execute(kept["down"])
    await owner.execute(kept["up"])
    await filled(owner)
    assert await search(one, query="car") == ["A car"]
    await admin.call("delete_collection", name="papers")
    assert await owner.fetchval("SELECT to_regclass('papers_chunks')") is None


async def test_names_are_quoted_wherever_they_stand(admin: Caller, owner: Owner) -> None:
    name = "od\"d 'name; --"
    await owner.execute(
        f'CREATE TABLE "{name.replace(chr(34), 2 * chr(34))}" ("Key "" 1" text PRIMARY KEY, '
        '"Te""xt" text); ALTER TABLE "' + name.replace('"', '""') + '" ENABLE ROW LEVEL SECURITY'
    )
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        await owner.execute(f"INSERT INTO {quoted} VALUES ('k', 'A car'), ('l', 'A cat')")
        wanted = {"name": "odd", "table": name, "text_column": 'Te"xt', "dimensions": SIZE}
        await admin.call("create_collection", **wanted, embedding_column='e"m')
        await filled(owner)
        assert await owner.fetchval(f'SELECT count("e""m") FROM {quoted}') == 2
        await admin.call("delete_collection", name="odd")
        await admin.call("create_collection", **wanted, chunk_size=80)
        await filled(owner)
        found = await admin.call("search_vectors", collection="odd", query="cat", threshold=-1)
        assert found["results"][0]["content"] == "A cat"
        await admin.call("delete_collection", name="odd")
    finally:
        await owner.execute(f"DROP TABLE {quoted} CASCADE")


async def test_an_index_is_built_for_the_number_of_rows(admin: Caller, owner: Owner) -> None:
    await owner.execute(
        "ALTER TABLE papers ADD COLUMN embedding extensions.vector(3); "
        "INSERT INTO papers (user_id, body, embedding) SELECT gen_random_uuid(), 'p' || n, "
        "ARRAY[n, n % 7, 1]::real[]::extensions.vector FROM generate_series(1, 3000) n"
    )
    await admin.call("create_collection", **{**MADE, "dimensions": 3}, index="ivfflat", metric="l2")
    definition = "SELECT string_agg(indexdef, ';') FROM pg_indexes WHERE tablename = 'papers'"
    await until(owner, "SELECT index_state = 'ready' FROM vectors.collections")
    made = await owner.fetchval(definition)
    assert "USING ivfflat (embedding) WITH (lists='3')" in made
    await owner.execute(
        "INSERT INTO papers (user_id, body, embedding) SELECT user_id, body, embedding "
        "FROM papers LIMIT 3000"
    )
    await admin.call("reindex_collection", name="papers")
    await until(owner, "SELECT index_state = 'ready' FROM vectors.collections")
    made = await owner.fetchval(definition)
    assert "lists='6'" in made
    assert "lists='3'" not in made


async def test_words_that_are_spelled_wrongly_are_found_by_their_letters(
    one: Caller, serving: Callable[..., Any], owner: Owner
) -> None:
    await write(owner, USER1, "Invoice of the Kilimanjaro expedition", "Something else")
    asked = {"table": "papers", "text_column": "body", "hybrid": True, "limit": 1}
    async with serving() as http:
        one.http = http
        found = await one.call("search_vectors", query="kilimandjaro", **asked)
        assert [row["body"] for row in found["results"]] == [
            "Invoice of the Kilimanjaro expedition"
        ]
        assert (await one.call("search_vectors", query="xylophone", **asked))["count"] == 0
