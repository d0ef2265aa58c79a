"""Vectors in clusters, questions near them and the true answers; it knows no contestant."""

from __future__ import annotations

import random
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from tests.bench.work import Work, WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.world import Caller

SIZE: Final = 64
OWNERS: Final = 10  # each of whom sees an equal share of the rows
NEAREST: Final = 10
LEAST: Final = -1  # similarity, which lets everything through
QUESTIONS: Final = 200  # of which recall is told
ASKED: Final = 16  # of them under load, by everyone, since pgbench plans each anew for a while
_CLUSTERS: Final = 200
_SPREAD: Final = 0.6  # of a cluster, where the centres have 1
_BATCH: Final = 5_000
_TYPE: Final = f"extensions.vector({SIZE})"
_NEAR: Final = f"t.embedding OPERATOR(extensions.<=>) VECTOR::text::{_TYPE}"
_FOUND: Final = (
    f"SELECT t.id, t.user_id, t.body, 1 - ({_NEAR}) AS similarity FROM public.passages t "
    f"WHERE t.embedding IS NOT NULL ORDER BY {_NEAR} LIMIT MOST::int8"
)
_TABLE: Final = f"""
CREATE TABLE public.passages (
  id bigint PRIMARY KEY,
  user_id uuid NOT NULL,
  body text NOT NULL,
  embedding {_TYPE} NOT NULL
);
ALTER TABLE public.passages ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.passages TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON public.passages TO authenticated;
"""
_INDEX: Final = """
SET maintenance_work_mem = '512MB';
CREATE INDEX passages_near ON public.passages USING hnsw (embedding extensions.vector_cosine_ops);
"""


class Search(Work):
    """The nearest rows to a question, which comes with each call."""

    def _check_row(self, row: dict[str, Any], user_id: str) -> None:
        if row["user_id"] != user_id:
            raise WrongAnswer(f"{self.name}: a row that was not asked for: {row}")


SEARCH: Final = Search(
    "vectors",
    # As `search_vectors` writes it, where its parameters have names.
    "SELECT current_user::text, '[' || coalesce(string_agg(row_to_json(r)::text, ','), '') || ']', "
    f"count(*) FROM (SELECT * FROM ({_FOUND}) s WHERE similarity >= LEAST::float8) r",
    "",
    "search_vectors",
    {"table": "passages", "select": "id,user_id,body", "limit": NEAREST, "threshold": LEAST},
    "",
    NEAREST,
)


def near(vector: str, most: str, least: str, *, sql: str = SEARCH.sql) -> str:
    """Return the statement of a search with these for its parameters."""
    return sql.replace("VECTOR", vector).replace("MOST", most).replace("LEAST", least)


@cache
def questions() -> tuple[list[float], ...]:
    """Return what is asked, the same each time."""
    return tuple(islice(_vectors(2), QUESTIONS))


def _vectors(seed: int) -> Iterator[list[float]]:
    """Yield vectors around centres that are the same for every seed."""
    centres = [_around([0.0] * SIZE, 1.0, random.Random(n)) for n in range(_CLUSTERS)]  # noqa: S311
    rng = random.Random(-seed)  # noqa: S311 - made-up data
    while True:
        yield _around(rng.choice(centres), _SPREAD, rng)


def _around(centre: Sequence[float], spread: float, rng: random.Random) -> list[float]:
    return [round(rng.gauss(value, spread), 4) for value in centre]


async def fill(admin: asyncpg.Connection[asyncpg.Record], many: int) -> None:
    """Make the table of vectors and its index; the owner of row n is number n % OWNERS."""
    await admin.execute(_TABLE)
    vectors = _vectors(1)
    for start in range(0, many, _BATCH):
        size = min(_BATCH, many - start)
        await admin.execute(
            "INSERT INTO public.passages SELECT n, ('00000000-0000-4000-8000-' || "
            f"lpad((n % {OWNERS})::text, 12, '0'))::uuid, 'Passage number ' || n, v::{_TYPE} "
            "FROM unnest($1::int[], $2::text[]) u(n, v)",
            list(range(start, start + size)),
            [str(vector) for vector in islice(vectors, size)],
            timeout=120,
        )
    await admin.execute(_INDEX, timeout=1800)
    await admin.execute("VACUUM ANALYZE public.passages")


async def exact(url: str, settings: dict[str, str], caller: Caller) -> list[list[int]]:
    """Return the ids of what is nearest to each question of all that the caller may see.

    Raises:
        RuntimeError: with its indexes Postgres would not use that of the vectors either.
    """
    conn = await asyncpg.connect(url, server_settings={**settings, "role": caller.role})
    try:
        first, most = str(questions()[0]), str(NEAREST)
        plan = await conn.fetch(f"EXPLAIN {near('$1', most, '-1')}", first)
        if not any("passages_near" in line[0] for line in plan):
            raise RuntimeError("too few vectors: Postgres looks at all of them anyway")
        await conn.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
        statement = await conn.prepare(near("$1", most, "", sql=_FOUND))
        answers = [await statement.fetch(str(question)) for question in questions()]
        return [[row["id"] for row in rows] for rows in answers]
    finally:
        await conn.close()


def recall(found: Sequence[Sequence[int]], true: Sequence[Sequence[int]]) -> float:
    """Return which share of the true nearest was found, over all questions."""
    pairs = list(zip(found, true, strict=True))
    return sum(len({*some} & {*all_}) for some, all_ in pairs) / sum(len(t) for _, t in pairs)
