"""Finds what a collection stands for: a table, its columns, and whose vectors it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fluxbase.egress.embed import Embedder
from fluxbase.errors import InvalidArgument, UnknownCollection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.vector_index import Metric
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as a search and a write see it.

    `table` is what is searched: of a collection with chunks the table of the parts, while `source`
    is where its texts are written.
    """

    table: str
    source: str
    text_column: str
    embedding_column: str
    tags_column: str | None
    model: str | None
    dimensions: int
    metric: Metric
    chunked: bool


async def find(ctx: Context, name: str) -> Collection:
    """Return a collection whose table the caller may see.

    Raises:
        UnknownCollection: there is none of that name for the caller.
    """
    rows = await ctx.database.admin("collection_of", name=name)
    sight = await ctx.catalog.sight(ctx.who)
    table = sight.by_oid.get(rows[0]["oid"]) if rows else None
    source = sight.by_oid.get(rows[0]["source"]) if rows else None
    if table is None or source is None or rows[0]["written_column"] not in source.grant.select:
        raise UnknownCollection(hint="list_collections shows the collections this key may search")
    row = rows[0]
    return Collection(
        table.relation.full_name,
        source.relation.full_name,
        row["text_column"],
        row["embedding_column"],
        row["tags_column"],
        row["model"],
        row["dimensions"],
        cast("Metric", row["metric"]),
        row["chunked"],
    )


def shares_model(ctx: Context, collection: Collection, *, needed: bool) -> bool:
    """Return whether this server's model made the collection's vectors, or nobody says otherwise.

    Raises:
        InvalidArgument: another one did, and a vector to compare with them is needed.
    """
    model = ctx.service(Embedder).model
    if None in (model, collection.model) or model == collection.model:
        return True
    if needed:
        raise InvalidArgument(
            "query: another model made the vectors of this collection",
            hint="hybrid: true goes on by words; reindex_collection with every: true embeds anew",
        )
    return False


def with_tags(
    filters: Mapping[str, Any] | None, column: str, tags: list[str]
) -> Mapping[str, Any] | None:
    """Return a filter that also asks for all of some tags."""
    if not tags:
        return filters
    wanted = {column: {"cs": tags}}
    return {"and": [wanted, dict(filters)]} if filters else wanted
