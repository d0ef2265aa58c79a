"""Texts of a collection get their vectors by themselves, whatever happens meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.vectors.model import SIZE, Model, embedding
from tests.integration.vectors.papers import MADE, entry, filled, refused, search, until, write
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    Owner = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.usefixtures("papers")


async def test_texts_there_are_and_texts_to_come_are_embedded(
    admin: Caller, one: Caller, two: Caller, owner: Owner
) -> None:
    await write(owner, USER1, "The automobile needs new tyres", "The dinner was cold")
    await write(owner, USER2, "The car of somebody else", "")
    made = await admin.call("create_collection", **MADE)
    assert made == {"created": True, "collection": "papers", "waiting": 3, "dry_run": False}
    await filled(owner)
    assert (await search(one, query="vehicle"))[0] == "The automobile needs new tyres"
    assert await search(two, query="vehicle") == ["The car of somebody else"]
    await one.call("insert_record", table="papers", data={"body": "A feline sleeps"})
    await filled(owner)
    assert (await search(one, query="cat"))[0] == "A feline sleeps"
    await one.call(
        "update_record",
        table="papers",
        data={"body": "A dish"},
        filter={"body": "eq.A feline sleeps"},
    )
    await filled(owner)
    assert (await search(one, query="meal"))[0] == "A dish"
    stored = await owner.fetchval("SELECT embedding::text FROM papers WHERE body = 'A dish'")
    wanted = await owner.fetchval(
        "SELECT $1::text::extensions.vector::text", str(embedding("A dish"))
    )
    assert stored == wanted


async def test_a_text_that_becomes_empty_has_no_vector(
    admin: Caller, one: Caller, owner: Owner
) -> None:
    await write(owner, USER1, "The dinner was cold")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    assert await search(one, query="dish") != []
    await owner.execute("UPDATE papers SET body = NULL")
    await filled(owner)
    assert await owner.fetchval("SELECT embedding FROM papers") is None
    assert await search(one, query="dish") == []


async def test_only_a_change_of_the_text_asks_the_model_again(
    admin: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    await write(owner, USER1, "The dinner was cold")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    asked = len(model[1].asked)
    await owner.execute("UPDATE papers SET tags = '{a}', body = body")
    await owner.execute(
        "UPDATE papers SET body = 'other', embedding = $1::text::extensions.vector",
        str(embedding("given")),
    )
    assert await owner.fetchval("SELECT count(*) FROM vectors.queue") == 0
    assert len(model[1].asked) == asked


async def test_the_queue_waits_for_a_model_that_is_away_and_catches_up(
    admin: Caller, one: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    await admin.call("create_collection", **MADE)
    model[1].down = True
    await write(owner, USER1, *(f"The automobile {n}" for n in range(7)))
    await until(owner, "SELECT EXISTS (SELECT FROM vectors.queue WHERE error IS NOT NULL)")
    told = await entry(admin)
    assert (told["waiting"], told["failed"]) == (7, 0)
    assert "does not answer" in told["error"]
    assert (await entry(one))["waiting"] is None
    model[1].down = False
    await filled(owner)
    assert len(await search(one, query="vehicle", limit=10)) == 7
    assert await owner.fetchval("SELECT count(*) FROM vectors.queue") == 0


async def test_one_text_that_the_model_refuses_holds_nobody_up(
    admin: Caller, one: Caller, model: tuple[str, Model], owner: Owner
) -> None:
    model[1].refuses = "poison"
    await write(owner, USER1, "A dish", "poison", "A car", "A cat")
    await admin.call("create_collection", **MADE)
    await until(owner, "SELECT count(embedding) = 3 FROM papers")
    for attempt in range(1, 6):  # what waits for its next attempt is due at once
        await owner.execute("UPDATE vectors.queue SET next_at = now() WHERE next_at < 'infinity'")
        await owner.execute("NOTIFY fluxbase_embeddings")
        await until(owner, f"SELECT attempts >= {attempt} FROM vectors.queue")
    told = await entry(admin)
    assert (told["waiting"], told["failed"]) == (0, 1)
    assert "does not take" in told["error"]
    model[1].refuses = ""
    assert (await admin.call("reindex_collection", name="papers"))["waiting"] == 1
    await filled(owner)
    assert (await search(one, query="poison"))[0] == "poison"
    assert (await entry(admin))["failed"] == 0


async def lent(admin: Caller, owner: Owner, *bodies: str) -> list[dict[str, Any]]:
    """Lend rows of a collection that no server works on, and return their vectors for `store`."""
    await admin.call("create_collection", **MADE)
    await filled(owner)
    await owner.execute("UPDATE vectors.collections SET model = 'of the test'")
    await write(owner, USER1, *bodies)
    rows = await owner.fetch("SELECT * FROM vectors.claim('papers', 'of the test', 10, 60)")
    return [
        {
            "key": json.loads(row["key"]),
            "digest": row["digest"],
            "embedding": str(embedding(row["content"])),
        }
        for row in rows
    ]


async def store(owner: Owner, items: list[dict[str, Any]], label: str = "of the test") -> int:
    return await owner.fetchval(
        "SELECT vectors.store('papers', $1, $2::text::jsonb)", label, json.dumps(items)
    )


@pytest.mark.parametrize("by_trigger", [True, False])
async def test_a_vector_of_an_older_text_does_not_end_the_wait(
    admin: Caller, owner: Owner, by_trigger: bool
) -> None:
    items = await lent(admin, owner, "older")
    # Also where the queue knows nothing of the change: it may be lent in the moment of a commit.
    if not by_trigger:
        await owner.execute("ALTER TABLE papers DISABLE TRIGGER USER")
    await owner.execute("UPDATE papers SET body = 'newer'")
    assert await store(owner, items) == 0
    assert await owner.fetchval("SELECT embedding FROM papers") is None
    assert await owner.fetchval("SELECT count(*) FROM vectors.queue") == 1


async def test_a_row_that_is_held_is_left_and_the_others_are_stored(
    admin: Caller, owner: Owner, second_owner: Owner
) -> None:
    items = await lent(admin, owner, "held", "free")
    async with second_owner.transaction():
        await second_owner.execute("SELECT FROM vectors.queue WHERE key = '{\"id\": 1}' FOR UPDATE")
        assert await store(owner, items) == 1
    assert await owner.fetchval("SELECT body FROM papers WHERE embedding IS NOT NULL") == "free"
    async with second_owner.transaction():
        await second_owner.execute("SELECT FROM papers WHERE body = 'held' FOR UPDATE")
        assert await store(owner, items) == 0
    assert await store(owner, items) == 1


async def test_a_model_that_was_replaced_meanwhile_stores_nothing(
    admin: Caller, owner: Owner
) -> None:
    items = await lent(admin, owner, "text")
    await owner.execute("UPDATE vectors.collections SET next_model = 'of tomorrow'")
    assert await store(owner, items) == 0
    assert await store(owner, items, "of tomorrow") == 1


async def test_what_was_lent_to_somebody_who_died_is_due_again(admin: Caller, owner: Owner) -> None:
    await admin.call("create_collection", **MADE)
    await owner.execute("UPDATE vectors.collections SET model = 'of the test'")
    await write(owner, USER1, "The dinner was cold")
    take = "SELECT count(*) FROM vectors.claim('papers', 'of the test', 10, $1)"
    assert await owner.fetchval(take, 0.2) == 1
    assert await owner.fetchval(take, 0.2) == 0
    await until(owner, "SELECT next_at < clock_timestamp() FROM vectors.queue")
    assert await owner.fetchval(take, 60.0) == 1


async def test_the_days_tokens_bound_what_is_sent(
    serving: Callable[..., Any],
    admin: Caller,
    one: Caller,
    model: tuple[str, Model],
    owner: Owner,
) -> None:
    model[1].tokens = 40
    embeddings = {"url": model[0], "batch_size": 1, "max_tokens_per_day": 100, "concurrency": 1}
    await admin.call("create_collection", **MADE)
    await filled(owner)
    async with serving(vectors={"embeddings": embeddings}) as http:
        one.http = http
        for text in ("one", "two", "three"):
            await one.call("search_vectors", table="passages", query=text, column="embedding")
        error = await refused(
            one, "search_vectors", table="passages", query="four", column="embedding"
        )
    assert error.code == "FLX504"
    assert "used up" in error.message
    assert await owner.fetchval("SELECT tokens FROM vectors.usage") == 120


async def test_a_function_of_the_database_may_be_the_model(
    serving: Callable[..., Any], admin: Caller, one: Caller, owner: Owner
) -> None:
    await owner.execute(
        "CREATE OR REPLACE FUNCTION public.embed_letters(t text) RETURNS real[] LANGUAGE sql "
        "IMMUTABLE AS $$ SELECT ARRAY[length(t), length(replace(t, 'a', ''))]::real[] $$"
    )
    try:
        embeddings = {"function": "public.embed_letters"}
        async with serving(vectors={"embeddings": embeddings}) as http:
            admin.http = one.http = http
            await write(owner, USER1, "aaaa", "bbbb")
            await admin.call("create_collection", **{**MADE, "dimensions": 2})
            await filled(owner)
            assert (await search(one, query="aaa", limit=1)) == ["aaaa"]
            assert (await entry(one))["model"] == "public.embed_letters"
    finally:
        await owner.execute("DROP FUNCTION public.embed_letters")


async def test_vectors_of_two_models_are_not_compared(
    serving: Callable[..., Any],
    admin: Caller,
    one: Caller,
    model: tuple[str, Model],
    owner: Owner,
) -> None:
    await write(owner, USER1, "A car")
    await admin.call("create_collection", **MADE)
    await filled(owner)
    async with serving(vectors={"embeddings": {"url": model[0], "model": "newer"}}) as http:
        one.http = admin.http = http
        error = await refused(one, "search_vectors", collection="papers", query="a")
        assert "another model" in error.message
        assert await search(one, query="car", hybrid=True) == ["A car"]
        error = await refused(admin, "reindex_collection", name="papers")
        assert "another model" in error.message
        assert (await admin.call("reindex_collection", name="papers", every=True))["waiting"] == 1
        await filled(owner)
        assert await search(one, query="a") == ["A car"]
        assert (await entry(one))["model"] == "newer"


async def test_a_collection_whose_column_is_gone_holds_up_no_other(
    admin: Caller, owner: Owner
) -> None:
    await owner.execute("CREATE TABLE public.broken (id int PRIMARY KEY, body text)")
    try:
        wanted = {"name": "broken", "table": "broken", "text_column": "body", "dimensions": SIZE}
        await admin.call("create_collection", **wanted)
        await owner.execute("ALTER TABLE broken RENAME COLUMN body TO words")
        await owner.execute("INSERT INTO broken VALUES (1, 'A car')")
        await admin.call("create_collection", **MADE)
        for many in range(1, 6):
            await write(owner, USER1, "A cat")
            await until(owner, f"SELECT count(embedding) = {many} FROM papers")
        # It was put off once, rather than tried again and again.
        until_then = "SELECT next_at > now() + interval '5 s' FROM vectors.queue"
        assert await owner.fetchval(until_then) is True
        [found] = [
            c
            for c in (await admin.call("list_collections"))["collections"]
            if c["name"] == "broken"
        ]
        assert (found["waiting"], "not there any more" in found["error"]) == (1, True)
        await admin.call("delete_collection", name="broken")
    finally:
        await owner.execute("DROP TABLE broken")
