"""The tools that search by meaning, and write what is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import Field

from fluxbase.db.vector_index import Metric  # noqa: TC001 - pydantic reads it
from fluxbase.errors import InvalidArgument
from fluxbase.tables import writing
from fluxbase.tables.collection import Collection, find, shares_model, with_tags
from fluxbase.tables.nearest import (
    THRESHOLD,
    Near,
    nearest,
    vector_of,
)
from fluxbase.tables.tools import (  # noqa: TC001 - pydantic reads them
    DryRun,
    Filter,
    IdempotencyKey,
)
from fluxbase.tables.vector_columns import vector_column, written
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.relation import Visible

_LARGEST: Final = 3.4e38

CollectionName = Annotated[
    str, Field(min_length=1, max_length=63, description="A collection of list_collections")
]


@dataclass(frozen=True, slots=True)
class Matches:
    """The best rows, each with its `similarity`."""

    query: str | None
    results: JsonRows
    count: int


@tool(scopes=("read:vectors",), title="Search vectors", read_only=True, untrusted=True)
async def search_vectors(
    ctx: Context,
    table: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Table name, or schema.table"),
    ] = None,
    collection: Annotated[
        CollectionName | None, Field(description="A collection, in place of a table")
    ] = None,
    query: Annotated[
        str | None, Field(min_length=1, max_length=32_000, description="What to look for, in words")
    ] = None,
    embedding: Annotated[
        list[float] | None, Field(description="The vector to look near to, in place of query")
    ] = None,
    column: Annotated[
        str | None, Field(description="Column of vectors; the only one when left out")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Most rows to return")] = 5,
    threshold: Annotated[
        float | None,
        Field(description="Least similarity; 0.7 for cosine when left out, 0 for all rows"),
    ] = None,
    metric: Annotated[
        Metric | None, Field(description="How distance is measured; cosine, or the collection's")
    ] = None,
    tags: Annotated[
        list[str] | None,
        Field(max_length=50, description="Only rows that have all of these tags"),
    ] = None,
    filter: Filter | None = None,  # noqa: A002 - the argument's name in the protocol
    select: Annotated[
        str, Field(max_length=65_536, description="Columns such as id,body; * leaves vectors out")
    ] = "*",
    hybrid: Annotated[
        bool, Field(description="Find by words too, and fuse both lists; works without a model")
    ] = False,
    text_column: Annotated[
        str | None, Field(description="hybrid: column of texts; the only one when left out")
    ] = None,
    language: Annotated[
        str,
        Field(
            pattern=r"^[a-z_]{1,63}$",
            description="hybrid: text search configuration, such as english",
        ),
    ] = "simple",
) -> Matches:
    """Find the rows that mean the same as a text, or lie nearest to a vector.

    A collection is searched by its name alone; of a table its columns may have to be named. Only
    rows the caller may see are candidates. `similarity` is 1 for the same direction (cosine);
    with `hybrid` it is a score that only tells the order.
    """
    if (query is None) == (embedding is None) and not hybrid:
        raise InvalidArgument("give either query or embedding")
    if hybrid and query is None:
        raise InvalidArgument("hybrid: words are needed, in query")
    if (table is None) == (collection is None):
        raise InvalidArgument("give either table or collection")
    known = None if collection is None else await find(ctx, collection)
    vector: list[float] | None = embedding
    if vector is None and query is not None:
        needed = not hybrid
        if known is None or shares_model(ctx, known, needed=needed):
            vector = await vector_of(ctx, query, needed=needed)
    measure: Metric = metric or (known.metric if known else "cosine")
    near = Near(
        table=known.table if known else table or "",
        column=column or (known.embedding_column if known else None),
        vector=vector,
        words=query if hybrid else None,
        text=text_column or (known.text_column if known else None),
        metric=measure,
        threshold=THRESHOLD if threshold is None and measure == "cosine" else threshold,
        limit=min(limit, ctx.max_rows),
        select=select,
        filter=with_tags(filter, _tags_column(known), tags or []),
        language=language,
        trigrams=await _trigrams(ctx) if vector is None else None,
    )
    found = await nearest(ctx, near)
    return Matches(query, JsonRows(found.text), found.count)


@dataclass(frozen=True, slots=True)
class Upserted:
    """How many rows were written, and how many came without a vector.

    `waiting` are those whose vector the server makes, as far as their text is new.
    """

    upserted: int
    waiting: int
    dry_run: bool


@tool(scopes=("write:tables",), title="Upsert vectors", destructive=True, idempotent=True)
async def upsert_vectors(
    ctx: Context,
    collection: CollectionName,
    rows: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=1000,
            description='Rows by column: the key, the text, and `embedding` as numbers: [{"id": 1, '
            '"body": "…", "embedding": [0.1, 0.2]}]; without an embedding the server makes it',
        ),
    ],
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Upserted:
    """Write rows of a collection, new ones or over those with the same key, all or none.

    Policies of the table decide what the caller may write, as for insert_record.
    """
    known = await find(ctx, collection)
    source = (await ctx.catalog.sight(ctx.who)).find(known.source)
    ready = [_row(source, known, row, place) for place, row in enumerate(rows)]
    manner = writing.Manner("", dry_run, idempotency_key)
    key = ",".join(source.relation.primary_key)
    done = await writing.insert(ctx, known.source, ready, key, "update", manner)
    own = sum(known.embedding_column in row for row in ready) if not known.chunked else 0
    return Upserted(done.rows, 0 if known.model is None else done.rows - own, dry_run)


def _row(
    source: Visible, known: Collection, row: Mapping[str, Any], place: int
) -> Mapping[str, Any]:
    """Return a row as its table takes it.

    Raises:
        InvalidArgument: its vector is not one of this collection, or is missing.
    """
    name = known.embedding_column
    if name not in row and "embedding" not in source.relation.columns:
        name = "embedding"
    vector = row.get(name)
    if known.chunked:
        if "embedding" in row and "embedding" not in source.relation.columns:
            raise InvalidArgument(f"rows[{place}]: the server embeds the parts of its text")
        return row
    if vector is None:
        if known.model is None:
            raise InvalidArgument(f"rows[{place}]: an embedding is needed, the server has no model")
        return {column: value for column, value in row.items() if column != name}
    if not _is_vector(vector) or len(vector) != known.dimensions:
        raise InvalidArgument(f"rows[{place}]: the embedding is {known.dimensions} numbers")
    text = written(vector, vector_column(source, known.embedding_column))
    rest = {column: value for column, value in row.items() if column != name}
    return {**rest, known.embedding_column: text}


def _is_vector(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(_is_number(n) for n in cast("list[object]", value))


def _is_number(value: object) -> bool:
    """Return whether a vector can hold a value: its numbers are single floats."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST <= value <= _LARGEST


def _tags_column(known: Collection | None) -> str:
    if known is not None and known.tags_column is not None:
        return known.tags_column
    return "tags"


async def _trigrams(ctx: Context) -> str | None:
    rows = await ctx.database.admin("trigrams")
    return rows[0]["schema"] if rows else None
