"""What a collection may not show, and what it does not take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.vectors.tending import index_of
from tests.integration.vectors.model import SIZE, Model, embedding
from tests.integration.vectors.papers import MADE, entry, filled, refused, search, until, write
from tests.world import USER1, USER2, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.db.vector_index import VectorIndex

    Owner = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.usefixtures("papers")

NAKED = "ALTER TABLE papers DISABLE ROW LEVEL SECURITY"


async def parts(caller: Caller) -> list[Any]:
    """Return what a caller reads of the parts by any tool; nothing when it is refused."""
    found: list[Any] = []
    for tool, arguments in (
        ("query_table", {"table": "papers_chunks", "select": "content"}),
        ("search_vectors", {"table": "papers_chunks", "query": "car", "threshold": -1}),
        ("search_vectors", {"collection": "papers", "query": "car", "threshold": -1}),
    ):
        try:
            answer = await caller.call(tool, **arguments)
        except Refused as error:
            if error.code not in ("FLX201", "FLX206", "FLX302"):
                raise
            continue
        found += answer["rows" if tool == "query_table" else "results"]
    return found


@pytest.fixture
async def chunked(admin: Caller, owner: Owner) -> None:
    await write(owner, USER1, "A car")
    await write(owner, USER2, "Another car")
    await admin.call("create_collection", **MADE, chunk_size=80)
    await filled(owner)


async def test_parts_are_read_by_those_who_read_the_text(
    chunked: None, one: Caller, two: Caller
) -> None:
    assert {row["content"] for row in await parts(one)} == {"A car"}
    assert {row["content"] for row in await parts(two)} == {"Another car"}


@pytest.mark.parametrize(
    "change",
    [
        "REVOKE SELECT ON papers FROM authenticated",
        "REVOKE SELECT ON papers FROM authenticated; GRANT SELECT (id) ON papers TO authenticated",
        "REVOKE SELECT ON papers FROM authenticated; "
        "GRANT SELECT (id, user_id, body) ON papers TO authenticated",
        "REVOKE SELECT ON papers FROM authenticated; "
        "GRANT SELECT (id, user_id, tags) ON papers TO authenticated",
        "DROP POLICY own ON papers",
        NAKED,
    ],
)
async def test_what_is_taken_from_the_table_is_taken_from_its_parts(
    chunked: None, one: Caller, owner: Owner, backend: Backend, change: str
) -> None:
    assert await parts(one)
    await owner.execute(change)
    backend.database.catalog.forget()
    assert await parts(one) == []


async def test_default_privileges_open_no_parts(
    admin: Caller, one: Caller, owner: Owner, backend: Backend
) -> None:
    await owner.execute("REVOKE SELECT ON papers FROM authenticated")
    await owner.execute("GRANT SELECT (id, user_id) ON papers TO authenticated")
    default = "ALTER DEFAULT PRIVILEGES IN SCHEMA public {} SELECT ON TABLES {} authenticated"
    await owner.execute(default.format("GRANT", "TO"))
    try:
        await write(owner, USER1, "A car")
        await admin.call("create_collection", **MADE, chunk_size=80)
        await filled(owner)
        backend.database.catalog.forget()
        assert await parts(one) == []
    finally:
        await owner.execute(default.format("REVOKE", "FROM"))


async def test_a_table_without_row_level_security_has_no_parts(
    admin: Caller, owner: Owner, backend: Backend
) -> None:
    await owner.execute(NAKED)
    backend.database.catalog.forget()
    error = await refused(admin, "create_collection", **MADE, chunk_size=80)
    assert "no row-level security" in error.message


async def test_a_list_names_no_column_that_may_not_be_read(
    admin: Caller, one: Caller, owner: Owner, backend: Backend
) -> None:
    await admin.call("create_collection", **MADE)
    await owner.execute("REVOKE SELECT ON papers FROM authenticated")
    await owner.execute("GRANT SELECT (id, body, embedding) ON papers TO authenticated")
    backend.database.catalog.forget()
    assert (await entry(one))["tags_column"] is None
    await owner.execute("REVOKE SELECT (body) ON papers FROM authenticated")
    backend.database.catalog.forget()
    assert (await refused(one, "search_vectors", collection="papers", query="a")).code == "FLX206"
    await owner.execute("GRANT SELECT (body) ON papers TO authenticated")
    await owner.execute("REVOKE SELECT (embedding) ON papers FROM authenticated")
    backend.database.catalog.forget()
    assert (await one.call("list_collections"))["collections"] == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("(id int[] PRIMARY KEY, body text)", "key of arrays"),
        ("(id jsonb PRIMARY KEY, body text)", "key of arrays"),
        (f"(id int PRIMARY KEY, body text, embedding extensions.vector({SIZE}) NOT NULL)", "null"),
        (
            f"(id int PRIMARY KEY, body text, embedding extensions.vector({SIZE}) "
            "GENERATED ALWAYS AS (NULL) STORED)",
            "null",
        ),
        ("(id int PRIMARY KEY, body text) PARTITION BY RANGE (id)", "plain table"),
    ],
)
async def test_a_table_that_cannot_be_filled_is_refused(
    admin: Caller, owner: Owner, backend: Backend, table: str, said: str
) -> None:
    await owner.execute(f"CREATE TABLE public.odd {table}")
    backend.database.catalog.forget()
    try:
        wanted = {"name": "odd", "table": "odd", "text_column": "body", "dimensions": SIZE}
        error = await refused(admin, "create_collection", **wanted)
        assert error.code == "FLX101"
        assert said in error.message
    finally:
        await owner.execute("DROP TABLE public.odd")


async def test_a_column_of_vectors_belongs_to_one_collection(admin: Caller) -> None:
    await admin.call("create_collection", **MADE)
    error = await refused(admin, "create_collection", **{**MADE, "name": "titles"})
    assert (error.code, "papers has it" in error.message) == ("FLX506", True)


@pytest.mark.parametrize("gone", ["papers", "papers_chunks"])
async def test_a_collection_whose_table_is_gone_can_be_deleted(
    chunked: None, admin: Caller, owner: Owner, backend: Backend, gone: str
) -> None:
    await owner.execute(f"DROP TABLE {gone} CASCADE")
    backend.database.catalog.forget()
    assert "not there any more" in (await entry(admin))["error"]
    await admin.call("delete_collection", name="papers")
    assert (await admin.call("list_collections"))["count"] == 0


async def test_another_model_shows_nothing_of_the_old_one(
    serving: Callable[..., Any],
    admin: Caller,
    one: Caller,
    model: tuple[str, Model],
    owner: Owner,
) -> None:
    await write(owner, USER1, "A car", "poison")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    model[1].refuses = "poison"
    newer = {"url": model[0], "model": "newer", "concurrency": 1}
    async with serving(vectors={"embeddings": newer}) as http:
        one.http = admin.http = http
        await admin.call("reindex_collection", name="papers", every=True)
        error = await refused(one, "search_vectors", collection="papers", query="a")
        assert "another model" in error.message
        for _ in range(5):
            await until(owner, "SELECT count(*) = 1 AND min(attempts) > 0 FROM vectors.queue")
            await owner.execute("UPDATE vectors.queue SET next_at = 'infinity'")
        await until(owner, "SELECT next_model IS NULL FROM vectors.collections")
        assert await search(one, query="cat", limit=9) == ["A car"]


async def test_a_vector_without_direction_is_near_to_nothing(
    admin: Caller, one: Caller, owner: Owner
) -> None:
    await admin.call("create_collection", **MADE)
    rows = [
        {"id": 1, "body": "zero", "embedding": [0] * SIZE},
        {"id": 2, "body": "car", "embedding": embedding("car")},
    ]
    await one.call("upsert_vectors", collection="papers", rows=rows)
    assert await search(one, embedding=embedding("car")) == ["car"]
    assert await search(one, embedding=[0.0] * SIZE) == []
    for number in (10**400, float(10**39)):
        bad = [{"id": 3, "body": "a", "embedding": [number] + [0] * (SIZE - 1)}]
        error = await refused(one, "upsert_vectors", collection="papers", rows=bad)
        assert error.code == "FLX101"


async def test_no_index_but_its_own_is_touched(admin: Caller, owner: Owner) -> None:
    await owner.execute(
        "ALTER TABLE papers ADD COLUMN embedding extensions.vector(3); CREATE INDEX of_others ON "
        "papers USING hnsw (embedding extensions.vector_cosine_ops) WHERE id > 7; "
        "CREATE TABLE public.papers_embedding_hnsw (id int)"
    )
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'papers' AND indexname = "
    try:
        await admin.call("create_collection", **{**MADE, "dimensions": 3})
        await until(owner, "SELECT index_state = 'ready' FROM vectors.collections")
        assert await owner.fetchval(indexes + "'papers_embedding_hnsw_1'") == 1
        await admin.call("reindex_collection", name="papers")
        await until(owner, "SELECT index_state = 'ready' FROM vectors.collections")
        assert await owner.fetchval(indexes + "'papers_embedding_hnsw_2'") == 1
        assert await owner.fetchval(indexes + "'papers_embedding_hnsw_1'") == 0
        assert await owner.fetchval(indexes + "'of_others'") == 1
    finally:
        await owner.execute("DROP TABLE public.papers_embedding_hnsw")


async def test_a_reindex_asked_while_an_index_is_being_built_is_not_forgotten(
    admin: Caller, owner: Owner, backend: Backend
) -> None:
    await admin.call("create_collection", **MADE)
    await until(owner, "SELECT index_state = 'ready' FROM vectors.collections")
    before = await owner.fetchval("SELECT index_name::text FROM vectors.collections")
    late = {"name": "papers", "state": "ready", "error": None, "known": "ready"}
    async with asyncio.TaskGroup() as group, owner.transaction():
        await owner.execute("UPDATE vectors.collections SET index_state = 'stale'")
        group.create_task(backend.database.admin("set_index_state", **late))
        await until(owner, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    await until(owner, "SELECT index_name <> $1 FROM vectors.collections", before)


async def test_of_many_who_tend_one_builds_an_index_once(
    admin: Caller, owner: Owner, backend: Backend
) -> None:
    # Too few rows for lists, so that nobody builds it but who is told to.
    await admin.call("create_collection", **MADE, index="ivfflat")
    await filled(owner)
    works = backend.database.works
    found = "SELECT index_state || ' ' || index_name FROM vectors.collections"

    async def read() -> VectorIndex:
        [row] = await works.run("wanted_index", collection="papers")
        return index_of(row)

    await works.build_index(await read())
    assert await owner.fetchval(found) == "ready papers_embedding_ivfflat"
    await owner.execute("UPDATE vectors.collections SET index_state = 'stale'")
    mine = theirs = await read()
    await works.build_index(mine)
    assert await owner.fetchval(found) == "ready papers_embedding_ivfflat_1"
    await works.build_index(theirs)
    assert await owner.fetchval(found) == "ready papers_embedding_ivfflat_1"
    await owner.execute("UPDATE vectors.collections SET index_state = 'stale'")
    await works.build_index(theirs)  # which was read before this was asked
    assert await owner.fetchval(found) == "stale papers_embedding_ivfflat_1"
