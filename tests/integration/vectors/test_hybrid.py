"""Hybrid search finds more than words alone and than meaning alone, on a set of questions."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg

    from fluxbase.app.backend import Backend
    from tests.world import Caller

    Owner = asyncpg.Connection[asyncpg.Record]

CORPUS: Final[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("corpus.yaml").read_text("utf-8")
)
CONCEPT: Final = {word: name for name, words in CORPUS["meanings"].items() for word in words}
SIZE: Final = 64


def meaning(text: str) -> list[float]:
    """Return the direction of what a text is about; words it does not know point nowhere."""
    vector = [0.0] * SIZE
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in CONCEPT:
            digest = hashlib.sha512(CONCEPT[word].encode()).digest()
            for place in range(SIZE):
                vector[place] += digest[place] / 127.5 - 1
    vector[0] += 0.01  # of a text without any meaning there is a vector too
    length = math.sqrt(sum(n * n for n in vector))
    return [n / length for n in vector]


@pytest.fixture
async def articles(owner: Owner, backend: Backend) -> AsyncGenerator[None]:
    await owner.execute(
        f"CREATE TABLE public.articles (id int PRIMARY KEY, body text NOT NULL, "
        f"embedding extensions.vector({SIZE})); ALTER TABLE public.articles ENABLE ROW LEVEL "
        "SECURITY; CREATE POLICY readable ON public.articles FOR SELECT USING (true); "
        "GRANT SELECT ON public.articles TO authenticated"
    )
    for number, body in enumerate(CORPUS["articles"]):
        await owner.execute(
            "INSERT INTO public.articles VALUES ($1, $2, $3::text::extensions.vector)",
            number, body, str(meaning(body)),
        )  # fmt: skip
    backend.database.catalog.forget()
    yield
    await owner.execute("DROP TABLE public.articles")


async def rank(caller: Caller, found: str, **arguments: Any) -> float:
    """Return 1 for the first place, 1/2 for the second, 0 for none of the first ten."""
    answer = await caller.call("search_vectors", table="articles", limit=10, **arguments)
    bodies = [row["body"] for row in answer["results"]]
    return 1 / (1 + bodies.index(found)) if found in bodies else 0.0


async def test_hybrid_beats_words_alone_and_meaning_alone(
    serving: Callable[..., Any], one: Caller, articles: None
) -> None:
    scores = {"words": 0.0, "meaning": 0.0, "hybrid": 0.0}
    async with serving() as http:  # without a model there is no vector but the one that is given
        one.http = http
        for query in CORPUS["queries"]:
            ask, find = query["ask"], query["find"]
            words = {"query": ask, "hybrid": True, "language": "english"}
            near = {"embedding": meaning(ask)}
            scores["words"] += await rank(one, find, **words)
            scores["meaning"] += await rank(one, find, **near, threshold=-1)
            scores["hybrid"] += await rank(one, find, **words, **near)
    means = {name: total / len(CORPUS["queries"]) for name, total in scores.items()}
    assert means["hybrid"] > means["words"] + 0.05, means
    assert means["hybrid"] > means["meaning"] + 0.05, means
    assert means["hybrid"] > 0.85, means


def test_the_set_is_sound() -> None:
    articles = CORPUS["articles"]
    assert len(set(articles)) == len(articles)
    assert all(query["find"] in articles for query in CORPUS["queries"])
    assert all(query["ask"] != query["find"] for query in CORPUS["queries"])
