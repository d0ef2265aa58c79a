"""Search by meaning gives the nearest of what the caller may see, and nothing of the rest."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.vectors.model import SIZE, Model, embedding
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg


WRONG: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({}, "FLX101", "either query or embedding"),
    ({"query": "a", "embedding": [1]}, "FLX101", "either query or embedding"),
    ({"hybrid": True, "embedding": [1]}, "FLX101", "words are needed"),
    ({"query": "a", "column": None}, "FLX101", "embedding, short, thin"),
    ({"query": "a", "column": "body"}, "FLX101", "holds no vectors"),
    ({"query": "a", "column": "nothing"}, "FLX202", "no such column"),
    ({"query": "a", "table": "nothing"}, "FLX201", "no such table"),
    ({"query": "a", "table": "notes", "column": None}, "FLX101", "none"),
    ({"embedding": [1, 2]}, "FLX602", ""),
    ({"embedding": []}, "FLX101", "numbers are expected"),
    ({"query": "a", "hybrid": True}, "FLX101", "body, topic"),
    ({"query": "a", "select": "count()"}, "FLX102", "aggregate"),
    ({"query": "a", "filter": {"nothing": 1}}, "FLX202", "nothing"),
    (
        {"query": "a", "hybrid": True, "text_column": "body", "language": "klingon"},
        "FLX101",
        "",
    ),
]
BROKEN: Final[list[Any]] = [
    {},
    {"data": []},
    {"data": [{"index": 0, "embedding": ["a"]}]},
    {"data": [{"index": 0, "embedding": []}]},
    {"data": [{"index": 0}]},
    [1],
]


async def search(caller: Caller, **arguments: Any) -> list[dict[str, Any]]:
    asked = {"table": "passages", "column": "embedding", **arguments}
    found = await caller.call("search_vectors", **asked)
    assert found["count"] == len(found["results"])
    return found["results"]


async def refused(caller: Caller, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await search(caller, **arguments)
    return caught.value


async def test_words_find_what_means_the_same(
    one: Caller, two: Caller, model: tuple[str, Model]
) -> None:
    best = await search(one, query="vehicle", threshold=-1)
    assert best[0]["body"] == "The automobile needs new tyres"
    assert set(best[0]) == {"id", "user_id", "body", "topic", "similarity"}
    assert len(best) == 4
    assert [r["similarity"] for r in best] == sorted((r["similarity"] for r in best), reverse=True)
    other = await search(two, query="vehicle", threshold=-1)
    assert other[0]["body"] == "The car of somebody else"
    assert len(other) == 2
    assert model[1].keys == {"Bearer a key of the tests"}


async def test_only_what_is_near_enough_is_found(one: Caller) -> None:
    same = await search(one, query="The dinner was cold")
    assert [row["body"] for row in same] == ["The dinner was cold"]
    assert math.isclose(same[0]["similarity"], 1, abs_tol=1e-5)
    assert await search(one, query="nothing like it whatsoever") == []


async def test_a_vector_is_asked_with_filter_and_select(one: Caller) -> None:
    found = await search(
        one,
        embedding=embedding("car"),
        threshold=-1,
        filter={"topic": {"in": ["food", "animals"]}, "id": {"lt": 100}},
        select="id,words:body",
        limit=1,
    )
    assert len(found) == 1
    assert set(found[0]) == {"id", "words", "similarity"}
    shown = await search(one, embedding=embedding("car"), threshold=-1, select="embedding", limit=1)
    assert len(shown[0]["embedding"]) > SIZE


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product", "l1"])
async def test_each_metric_has_its_own_order(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record], metric: str
) -> None:
    await owner.execute(
        "UPDATE passages SET short = CASE id WHEN 1 THEN '[1,0,0]' WHEN 2 THEN '[10,1,0]' "
        "WHEN 3 THEN '[0,1,0]' END::extensions.halfvec WHERE id < 4"
    )
    wanted = {
        "cosine": [1, 2, 3],
        "l2": [1, 3, 2],
        "inner_product": [2, 1, 3],
        "l1": [1, 3, 2],
    }[metric]
    found = await search(
        one, column="short", embedding=[1, 0, 0], metric=metric, threshold=-100, select="id"
    )
    assert [row["id"] for row in found] == wanted


async def test_sparse_vectors_are_searched_too(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await owner.execute("UPDATE passages SET thin = '{1:1,3:2}/5' WHERE id = 2")
    found = await search(one, column="thin", embedding=[1, 0, 2, 0, 0], select="id")
    assert [row["id"] for row in found] == [2]


async def test_hybrid_finds_by_meaning_and_by_word(one: Caller) -> None:
    by_word = await search(one, query="XK-4711 vehicle", hybrid=True, text_column="body", limit=2)
    assert {row["body"] for row in by_word} == {
        "Invoice XK-4711 was paid",
        "The automobile needs new tyres",
    }
    alone = await search(one, query="vehicle", hybrid=True, text_column="body", limit=1)
    assert alone[0]["body"] == "The automobile needs new tyres"


async def test_hybrid_needs_no_model(serving: Callable[..., Any], one: Caller, two: Caller) -> None:
    async with serving() as http:
        one.http = two.http = http
        found = await search(one, query="invoice", hybrid=True, text_column="body")
        assert [row["body"] for row in found] == ["Invoice XK-4711 was paid"]
        assert await search(two, query="invoice", hybrid=True, text_column="body") == []
        error = await refused(one, query="invoice")
    assert "no embedding model" in error.message


async def test_hidden_rows_shift_nothing(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async def asked() -> list[Any]:
        plain = await search(one, query="vehicle", threshold=-1)
        return [plain, await search(one, query="automobile", hybrid=True, text_column="body")]

    before = await asked()
    await owner.execute(
        "INSERT INTO passages (user_id, body, embedding) SELECT gen_random_uuid(), 'automobile', e "
        "FROM (SELECT embedding AS e FROM passages WHERE id = 1) x, generate_series(1, 500)"
    )
    assert await asked() == before


async def test_what_cannot_be_searched_is_told(one: Caller) -> None:
    for arguments, code, said in WRONG:
        error = await refused(one, **arguments)
        assert error.code == code, (arguments, error.message)
        assert said in error.message, (arguments, error.message)


async def test_a_model_that_stumbles_is_asked_again(one: Caller, model: tuple[str, Model]) -> None:
    model[1].failures = 2
    assert await search(one, query="vehicle", threshold=0)
    assert len(model[1].asked) == 3
    model[1].failures = 9
    error = await refused(one, query="vehicle")
    assert error.code == "FLX504"


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_model_that_answers_nonsense_is_told_as_unavailable(
    one: Caller, model: tuple[str, Model], broken: Any
) -> None:
    model[1].broken = broken
    assert (await refused(one, query="vehicle")).code == "FLX504"


async def test_an_index_fills_the_answer_though_row_level_security_hides_most(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Recall against exact search at a visible share of 1 %, over an HNSW index."""
    many, asked, recalled = int(os.environ.get("VECTORS", "20000")), 20, 0
    await owner.execute(
        "INSERT INTO passages (user_id, body, embedding) "
        "SELECT CASE WHEN n % 100 = 0 THEN $1::uuid ELSE gen_random_uuid() END, 'p' || n, v "
        "FROM generate_series(1, $2::int) n, LATERAL (SELECT array_agg(random() - 0.5)"
        "::extensions.vector AS v FROM generate_series(1, $3::int) WHERE n > 0) x",
        "00000000-0000-4000-8000-000000000001", many, SIZE,
    )  # fmt: skip
    await owner.execute(
        "CREATE INDEX passages_hnsw ON passages USING hnsw "
        "(embedding extensions.vector_cosine_ops); ANALYZE passages"
    )
    try:
        for n in range(asked):
            vector = embedding(f"question {n}")
            found = await search(
                one, embedding=vector, threshold=-1, limit=10, filter={"body": {"like": "p*"}}
            )
            assert len(found) == 10
            exact = await owner.fetch(
                "SELECT id FROM passages WHERE user_id = $1 AND body LIKE 'p%' "
                "ORDER BY (embedding OPERATOR(extensions.<=>) $2::text::extensions.vector) + 0 "
                "LIMIT 10",
                "00000000-0000-4000-8000-000000000001", str(vector),
            )  # fmt: skip
            recalled += len({r["id"] for r in found} & {r["id"] for r in exact})
    finally:
        await owner.execute("DROP INDEX passages_hnsw")
    assert recalled / (asked * 10) >= 0.95


async def test_query_table_searches_by_meaning_as_well(one: Caller) -> None:
    near = {"query": "automobile", "column": "embedding", "threshold": -1}
    asked = {"table": "passages", "vector_search": near, "select": "id,body", "limit": 2}
    page = await one.call("query_table", **asked, filter={"topic": "neq.food"})
    assert page["rows"][0]["body"] == "The automobile needs new tyres"
    assert set(page["rows"][0]) == {"id", "body", "similarity"}
    assert len(page["rows"]) == 2
    for wrong in ({"order": "id"}, {"offset": 1}, {"count": "exact"}, {"output": "csv"}):
        with pytest.raises(Refused) as caught:
            await one.call("query_table", **asked, **wrong)
        assert "vector_search" in caught.value.message
    for neither in ({"column": "embedding"}, {**near, "embedding": [1]}, {**near, "x": 1}):
        with pytest.raises(Refused) as caught:
            await one.call("query_table", table="passages", vector_search=neither)
        assert caught.value.code == "FLX101"
