"""Makes, lists and removes collections; it must not know how their rows get their vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from fluxbase.config.model import INTERNAL_SCHEMAS
from fluxbase.db.vector_index import MOST_DIMENSIONS, fault
from fluxbase.egress.embed import Embedder
from fluxbase.errors import (
    Conflict,
    Forbidden,
    InvalidArgument,
    UnknownCollection,
    UnknownColumn,
)

if TYPE_CHECKING:
    from fluxbase.db.relation import Column, Visible
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

Metric = Literal["cosine", "l2", "inner_product", "l1"]
IndexKind = Literal["hnsw", "ivfflat", "none"]
_LENGTH: Final = re.compile(r"\((\d+)\)$")
_OF_CHUNKS: Final = frozenset({"chunk_id", "position", "content", "tags", "embedding"})
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class New:
    """What a collection is to be."""

    name: str
    table: str
    text_column: str
    embedding_column: str
    dimensions: int | None
    metric: Metric
    index: IndexKind
    chunk_size: int | None
    chunk_overlap: int
    tags_column: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A collection; what waits and fails is told to service keys alone."""

    name: str
    table: str
    text_column: str
    embedding_column: str
    tags_column: str | None
    model: str | None
    dimensions: int
    metric: str
    index: str
    index_state: str
    chunk_size: int | None
    chunk_overlap: int
    chunks: str | None
    waiting: int | None = None
    failed: int | None = None
    error: str | None = None


async def entries(ctx: Context, name: str | None = None) -> list[Entry]:
    """Return the collections whose texts and vectors the caller may read."""
    sight = await ctx.catalog.sight(ctx.who)
    found: list[Entry] = []
    for row in await ctx.database.admin("find_collections", name=name):
        source = sight.by_oid.get(row["source"])
        if source is None:
            continue
        # Administrators are also shown one whose column is gone, so that they can delete it.
        if row["text_column"] not in source.grant.select and not ctx.who.is_service:
            continue
        if row["chunks"] is not None and row["chunks"] not in sight.by_oid:
            continue
        found.append(_entry(ctx, row))
    return found


async def entry(ctx: Context, name: str) -> Entry:
    """Return one collection.

    Raises:
        UnknownCollection: there is none of that name for the caller.
    """
    for found in await entries(ctx, name):
        return found
    raise UnknownCollection(hint="list_collections shows the collections this key may search")


async def create(ctx: Context, new: New, *, dry_run: bool) -> int:
    """Make a collection, and return how many rows wait for their vectors.

    Raises:
        FluxbaseError: it cannot be; nothing was changed.
    """
    table = await ctx.catalog.find(ctx.who, new.table)
    ctx.target, ctx.dry_run = table.relation.full_name, dry_run
    embedder = ctx.service(Embedder)
    _check_table(table)
    _check_texts(table, new)
    if await ctx.database.admin("find_collections", name=new.name):
        raise Conflict("there is a collection of this name already")
    column = None if new.chunk_size else table.relation.columns.get(new.embedding_column)
    dimensions = _dimensions(new, column)
    kind = _kind(column, dimensions)
    if new.index != "none" and (flaw := fault(kind, dimensions, new.metric, new.index)):
        raise InvalidArgument(f"index: {flaw}", hint='index "none" searches without one')
    if new.chunk_size:
        _check_chunks(table, new, embedder)
    spec = {
        "name": new.name,
        "source": _quoted(table.relation.schema, table.relation.name),
        "schema": table.relation.schema,
        "chunk_table": _chunk_table(table.relation.name),
        "text_column": new.text_column,
        "embedding_column": "embedding" if new.chunk_size else new.embedding_column,
        "tags_column": new.tags_column,
        "dimensions": dimensions,
        "metric": new.metric,
        "model": embedder.model,
        "index_kind": new.index,
        "chunk_size": new.chunk_size,
        "chunk_overlap": new.chunk_overlap,
    }
    if not dry_run:
        await ctx.record(table.relation.full_name)
    written = orjson.dumps(spec).decode()
    [row] = await ctx.database.reshape(
        "create_collection", dry_run=dry_run, spec=written, principal=ctx.who.id
    )
    return row["waiting"]


async def delete(ctx: Context, name: str) -> None:
    """Remove a collection, with its parts of texts; a column of vectors stays.

    Raises:
        UnknownCollection: there is none of that name.
    """
    await entry(ctx, name)
    await ctx.record(name)
    await ctx.database.reshape("delete_collection", dry_run=False, name=name, principal=ctx.who.id)


async def reindex(ctx: Context, name: str, *, every: bool) -> int:
    """Let rows be embedded and the index be built again; return how many rows wait.

    Raises:
        UnknownCollection: there is none of that name.
        InvalidArgument: clients give its vectors, or another model made them.
    """
    known = await entry(ctx, name)
    if known.model is None:
        raise InvalidArgument(
            "clients give the vectors of this collection", hint="upsert_vectors writes them"
        )
    model = ctx.service(Embedder).model
    if model is None:
        raise InvalidArgument("no embedding model is configured on this server")
    if model != known.model and not every:
        raise InvalidArgument(
            "another model made the vectors of this collection, and they cannot be compared",
            hint="every: true embeds all of its rows by the model of this server",
        )
    await ctx.record(name)
    await ctx.database.admin("set_model", name=name, model=model)
    await ctx.database.admin("set_index_state", name=name, state="stale")
    [row] = await ctx.database.work("requeue_collection", name=name, every=every)
    return row["waiting"]


def _entry(ctx: Context, row: Record) -> Entry:
    first = ctx.config.exposed_schemas[0]
    prefix = "" if row["schema"] == first else f"{row['schema']}."
    told = ctx.who.is_service
    return Entry(
        row["name"],
        prefix + row["table"],
        row["text_column"],
        row["embedding_column"],
        row["tags_column"],
        row["model"],
        row["dimensions"],
        row["metric"],
        row["index_kind"],
        row["index_state"],
        row["chunk_size"],
        row["chunk_overlap"],
        None if row["chunk_table"] is None else prefix + row["chunk_table"],
        row["waiting"] if told else None,
        row["failed"] if told else None,
        row["error"] if told else None,
    )


def _check_table(table: Visible) -> None:
    relation = table.relation
    if relation.schema in (*INTERNAL_SCHEMAS, "extensions"):
        raise Forbidden("table: internal schemas take no collections")
    if relation.kind not in ("table", "partitioned_table"):
        raise InvalidArgument("table: a collection is of a table, not of a view")
    if not relation.primary_key:
        raise InvalidArgument("table: a primary key is needed to tell its rows apart")


def _check_texts(table: Visible, new: New) -> None:
    columns = table.relation.columns
    text = columns.get(new.text_column)
    if text is None:
        raise UnknownColumn("text_column: no such column")
    if text.category != "S" or text.is_array:
        raise InvalidArgument("text_column: it holds no text")
    if new.tags_column is None:
        return
    tags = columns.get(new.tags_column)
    if tags is None:
        raise UnknownColumn("tags_column: no such column")
    if tags.type != "text[]":
        raise InvalidArgument("tags_column: an array of texts (text[]) is needed")


def _check_chunks(table: Visible, new: New, embedder: Embedder) -> None:
    if embedder.model is None:
        raise InvalidArgument(
            "chunk_size: parts of texts need a model",
            hint="set vectors.embeddings.url or vectors.embeddings.function",
        )
    if new.chunk_overlap >= (new.chunk_size or 0):
        raise InvalidArgument("chunk_overlap: it must be less than chunk_size")
    if (new.chunk_size or 0) > embedder.max_characters:
        raise InvalidArgument(f"chunk_size: the model takes {embedder.max_characters} characters")
    taken = sorted(_OF_CHUNKS.intersection(table.relation.primary_key))
    if taken:
        raise InvalidArgument(f"table: parts of texts have a column {taken[0]} of their own")


def _dimensions(new: New, column: Column | None) -> int:
    if column is None:
        if new.dimensions is None:
            raise InvalidArgument("dimensions: the length of the model's vectors is needed")
        return new.dimensions
    if column.base not in MOST_DIMENSIONS or column.is_array:
        raise InvalidArgument("embedding_column: it holds no vectors")
    length = _LENGTH.search(column.type)
    if length is None and new.dimensions is None:
        raise InvalidArgument("dimensions: the column takes any length, so it is needed here")
    of_column = int(length[1]) if length else new.dimensions
    if new.dimensions not in (None, of_column):
        raise InvalidArgument(f"dimensions: the column holds vectors of {of_column}")
    return of_column or 0


def _kind(column: Column | None, dimensions: int) -> str:
    if column is not None:
        return column.base
    # pgvector indexes halfvec up to twice the length; its error is far below that of any model.
    return "vector" if dimensions <= MOST_DIMENSIONS["vector"] else "halfvec"


def _chunk_table(table: str) -> str:
    end = "_chunks"
    return table[: _LONGEST_NAME - len(end)] + end


def _quoted(schema: str, table: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in (schema, table))
