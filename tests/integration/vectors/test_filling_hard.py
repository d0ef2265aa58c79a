"""The queue under writers, odd keys and a model that fails for one text alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.vectors.lent import Text, return_texts
from tests.integration.vectors.model import SIZE, Model, embedding
from tests.integration.vectors.papers import MADE, entry, filled, search, until, write
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.usefixtures("papers")

ALL_FILLED = "SELECT count(*) FILTER (WHERE embedding IS NULL) = 0 AND count(*) > 0 FROM papers"


@pytest.mark.parametrize("chunk_size", [None, 80])
async def test_a_writer_is_no_victim_of_a_deadlock(
    admin: Caller, owner: Owner, chunk_size: int | None
) -> None:
    await write(owner, USER1, *(f"text {n}" for n in range(20)))
    await admin.call("create_collection", **MADE, chunk_size=chunk_size)
    await filled(owner)
    for turn in range(4):
        await owner.execute("UPDATE papers SET body = body || '!'")
        async with owner.transaction():
            for id_ in (20, 1, 11, 3) if turn % 2 else (2, 19, 5):
                await owner.execute(f"UPDATE papers SET body = 'turn {turn}' WHERE id = {id_}")
                await asyncio.sleep(0.3)
    await filled(owner)


async def test_an_open_transaction_holds_up_its_own_row_alone(
    admin: Caller, owner: Owner, second_owner: Owner
) -> None:
    await admin.call("create_collection", **MADE)
    await write(owner, USER1, "held")
    await filled(owner)
    async with second_owner.transaction():
        await second_owner.execute("UPDATE papers SET body = 'held longer'")
        await write(owner, USER1, *(f"free {n}" for n in range(5)))
        await until(owner, "SELECT count(embedding) = 6 FROM papers")
    await filled(owner)


async def test_a_text_that_somebody_holds_for_a_moment_is_given_back_after_it(
    admin: Caller, owner: Owner, second_owner: Owner, backend: Backend
) -> None:
    await admin.call("create_collection", **MADE)
    await filled(owner)
    lent = Text('{"id": 7}', 3, "", [], False, None)
    await owner.execute(
        "INSERT INTO vectors.queue (collection, key, version, next_at) VALUES "
        "('papers', $1, $2, now() + interval '5 minutes')",
        lent.key,
        lent.version,
    )
    give = return_texts(backend.database, "papers", [lent], None, give_up_after=None)
    async with second_owner.transaction():
        await second_owner.execute("SELECT FROM vectors.queue FOR UPDATE")
        task = asyncio.create_task(give)
        await asyncio.sleep(0.3)
    await task
    # Then it is due, and as there is no such row nothing is left of it.
    await filled(owner)


async def test_a_text_that_always_fails_holds_nobody_up(
    admin: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    model[1].fails = "poison"
    await admin.call("create_collection", **MADE)
    await write(owner, USER1, "poison", *(f"good {n}" for n in range(8)))
    await until(owner, "SELECT count(embedding) = 8 FROM papers")
    await write(owner, USER1, "later")
    await until(owner, "SELECT count(embedding) = 9 FROM papers")
    await until(owner, "SELECT min(attempts) > 0 FROM vectors.queue")


async def test_a_function_that_fails_for_one_text_holds_nobody_up(
    serving: Callable[..., Any], admin: Caller, owner: Owner
) -> None:
    await owner.execute(
        "CREATE OR REPLACE FUNCTION public.embed_some(t text) RETURNS real[] LANGUAGE plpgsql AS "
        "$$ BEGIN IF t = 'raise' THEN RAISE 'no'; END IF; "
        "RETURN CASE WHEN t <> 'null' THEN ARRAY[1, length(t)]::real[] END; END $$"
    )
    try:
        async with serving(vectors={"embeddings": {"function": "public.embed_some"}}) as http:
            admin.http = http
            await write(owner, USER1, "raise", "good", "null", "fine")
            await admin.call("create_collection", **{**MADE, "dimensions": 2})
            await until(owner, "SELECT count(embedding) = 2 FROM papers")
            await until(owner, "SELECT min(attempts) > 0 FROM vectors.queue")
            assert "does not take" in (await entry(admin))["error"]
    finally:
        await owner.execute("DROP FUNCTION public.embed_some")


async def test_a_key_that_gets_another_name_or_value_is_found_again(
    admin: Caller, model: tuple[str, Model], owner: Owner, backend: Backend
) -> None:
    await admin.call("create_collection", **MADE)
    await filled(owner)
    model[1].down = True
    await write(owner, USER1, "old name")
    await owner.execute("ALTER TABLE papers RENAME COLUMN id TO number")
    backend.database.catalog.forget()
    model[1].down = False
    await write(owner, USER1, "new name")
    await until(owner, "SELECT count(embedding) = 1 FROM papers")
    await until(owner, "SELECT next_at = 'infinity' FROM vectors.queue")
    assert "primary key" in (await entry(admin))["error"]
    model[1].down = True
    await write(owner, USER1, "moves")
    await owner.execute("UPDATE papers SET number = 77 WHERE body = 'moves'")
    model[1].down = False
    await until(owner, "SELECT embedding IS NOT NULL FROM papers WHERE number = 77")


async def test_whoever_empties_a_vector_gets_another(
    admin: Caller, one: Caller, owner: Owner
) -> None:
    await write(owner, USER1, "A car")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    for change in ("embedding = NULL", "body = 'A cat', embedding = NULL"):
        await owner.execute(f"UPDATE papers SET {change}")
        await until(owner, ALL_FILLED)
    assert await search(one, query="cat") == ["A cat"]


async def test_a_vector_that_is_given_meanwhile_stays(
    admin: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    await admin.call("create_collection", **MADE)
    await filled(owner)
    model[1].down = True
    await write(owner, USER1, "A car")
    await owner.execute(
        "UPDATE papers SET embedding = $1::text::extensions.vector", str(embedding("given"))
    )
    assert await owner.fetchval("SELECT count(*) FROM vectors.queue") == 0


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("numeric", "123456789012345678901234567890.5"),
        ("text", "k" * 2600),
        ("text", 'it\'s \\ %s "so"'),
        ("uuid", "00000000-0000-4000-8000-00000000000a"),
        ("timestamptz", "2026-01-02 03:04:05.678+00"),
        ("bytea", "\\x00ff"),
        ("char(6)", "ab"),
        ("public.mood", "glad"),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 80])
async def test_keys_of_every_kind_are_found_again(
    admin: Caller, owner: Owner, backend: Backend, kind: str, key: str, chunk_size: int | None
) -> None:
    await owner.execute(
        f"CREATE TABLE public.keyed (id {kind}, part int DEFAULT 1, body text, PRIMARY KEY (id, "
        "part)); ALTER TABLE public.keyed ENABLE ROW LEVEL SECURITY"
    )
    backend.database.catalog.forget()
    put = f"INSERT INTO public.keyed VALUES ($1::text::{kind}, $2, 'A car')"
    try:
        await owner.execute(put, key, 1)
        wanted = {"name": "keyed", "table": "keyed", "text_column": "body", "dimensions": SIZE}
        await admin.call("create_collection", **wanted, chunk_size=chunk_size)
        await owner.execute(put, key, 2)
        await filled(owner)
        table = "keyed_chunks" if chunk_size else "keyed"
        assert await owner.fetchval(f"SELECT count(embedding) FROM {table}") == 2
        await admin.call("delete_collection", name="keyed")
    finally:
        await owner.execute("DROP TABLE public.keyed CASCADE")


async def test_a_text_of_very_many_parts_is_kept_whole_or_refused(
    admin: Caller, owner: Owner
) -> None:
    await write(owner, USER1, "word " * 9000, "word " * 20_000, "short")
    await admin.call("create_collection", **MADE, chunk_size=50)
    await until(owner, "SELECT count(DISTINCT id) = 2 FROM papers_chunks")
    assert await owner.fetchval("SELECT count(*) > 800 FROM papers_chunks") is True
    told = await entry(admin)
    assert (told["failed"], "more than 1000 parts" in told["error"]) == (1, True)


async def test_a_writer_is_no_victim_of_the_first_queue_either(
    admin: Caller, owner: Owner, second_owner: Owner
) -> None:
    await write(owner, USER1, *(f"text {n}" for n in range(20)))
    await admin.call("create_collection", **MADE)
    await filled(owner)
    async with second_owner.transaction():
        await second_owner.execute("UPDATE papers SET body = 'mine' WHERE id = 20")
        await admin.call("reindex_collection", name="papers", every=True)
        # Long enough for the slice to stand before row 20 with rows 1 to 19 in its hands.
        await asyncio.sleep(1.5)
        await second_owner.execute("UPDATE papers SET body = 'mine' WHERE id = 1")
    await filled(owner)
