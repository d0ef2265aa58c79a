"""The tool that searches by meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fluxbase.errors import InvalidArgument
from fluxbase.tables.nearest import (
    THRESHOLD,
    Metric,
    Near,
    nearest,
    vector_of,
)
from fluxbase.tables.tools import Filter, Table  # noqa: TC001 - pydantic reads it
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonRows


@dataclass(frozen=True, slots=True)
class Matches:
    """The best rows, each with its `similarity`."""

    query: str | None
    results: JsonRows
    count: int


@tool(scopes=("read:vectors",), title="Search vectors", read_only=True, untrusted=True)
async def search_vectors(
    ctx: Context,
    table: Table,
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
    metric: Annotated[Metric, Field(description="How distance is measured")] = "cosine",
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

    Only rows the caller may see are candidates. `similarity` is 1 for the same direction (cosine);
    with `hybrid` it is a score that only tells the order.
    """
    if (query is None) == (embedding is None) and not hybrid:
        raise InvalidArgument("give either query or embedding")
    if hybrid and query is None:
        raise InvalidArgument("hybrid: words are needed, in query")
    vector: list[float] | None = embedding
    if vector is None and query is not None:
        vector = await vector_of(ctx, query, needed=not hybrid)
    near = Near(
        table=table,
        column=column,
        vector=vector,
        words=query if hybrid else None,
        text=text_column,
        metric=metric,
        threshold=THRESHOLD if threshold is None and metric == "cosine" else threshold,
        limit=min(limit, ctx.max_rows),
        select=select,
        filter=filter,
        language=language,
    )
    found = await nearest(ctx, near)
    return Matches(query, JsonRows(found.text), found.count)
