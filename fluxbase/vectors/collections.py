"""Makes, lists and removes collections; it must not know how their rows get their vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from fluxbase.config.model import is_closed
from fluxbase.db.vector_index import MOST_DIMENSIONS, Metric, fault
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
    from fluxbase.db.sight import Sight
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

IndexKind = Literal["hnsw", "ivfflat", "none"]
_LENGTH: Final = re.compile(r"\((\d+)\)$")
_OF_CHUNKS: Final = frozenset({"chunk_id", "position", "content", "tags", "embedding"})


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
    table: str | None
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
    seeding: bool | None = None
    error: str | None = None


async def entries(ctx: Context, name: str | None = None) -> list[Entry]:
    """Return the collections whose texts and vectors the caller may read; service keys see all."""
    sight = await ctx.catalog.sight(ctx.who)
    rows = await ctx.database.admin("find_collections", name=name)
    if not ctx.who.is_service:
        return [
            _entry(ctx, row, None, tags=row["tags_column"] in _readable(sight, row["source"]))
            for row in rows
            if _may_search(sight, row)
        ]
    counts = await ctx.database.admin("count_waiting", name=name)
    counted = {row["collection"]: row for row in counts}
    return [_entry(ctx, row, counted.get(row["name"]), tags=True) for row in rows]


def _may_search(sight: Sight, row: Record) -> bool:
    columns = _readable(sight, row["source"])
    if row["chunks"] is None:
        return {row["text_column"], row["embedding_column"]} <= columns
    return row["text_column"] in columns and row["chunks"] in sight.by_oid


def _readable(sight: Sight, oid: int | None) -> frozenset[str]:
    table = None if oid is None else sight.by_oid.get(oid)
    return frozenset() if table is None else table.grant.select


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
    dimensions = _dimensions(new, column, embedder)
    kind = _kind(column, dimensions)
    if new.index != "none" and (flaw := fault(kind, dimensions, new.metric, new.index)):
        raise InvalidArgument(f"index: {flaw}", hint='index "none" searches without one')
    if new.chunk_size:
        _check_chunks(ctx, table, new, embedder)
    await _check_use(ctx, table, new)
    spec = _spec(table, new, dimensions, embedder.model)
    if not dry_run:
        await ctx.record(table.relation.full_name)
    # Counted apart: a change of the schema must not keep readers waiting while rows are counted.
    [counted] = await ctx.database.works.run("count_new", spec=spec)
    await ctx.database.reshape(
        "create_collection", dry_run=dry_run, spec=spec, principal=ctx.who.id
    )
    return counted["waiting"]


def _spec(table: Visible, new: New, dimensions: int, model: str | None) -> str:
    spec = {
        "name": new.name,
        "source": _quoted(table.relation.schema, table.relation.name),
        "schema": table.relation.schema,
        "chunk_table": f"{new.name}_chunks",
        "text_column": new.text_column,
        "embedding_column": "embedding" if new.chunk_size else new.embedding_column,
        "tags_column": new.tags_column,
        "dimensions": dimensions,
        "metric": new.metric,
        "model": model,
        "index_kind": new.index,
        "chunk_size": new.chunk_size,
        "chunk_overlap": new.chunk_overlap,
    }
    return orjson.dumps(spec).decode()


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
    if known.error is not None and known.table is None:
        raise InvalidArgument(known.error, hint="delete_collection removes what is left of it")
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
    [counted] = await ctx.database.works.run("count_again", name=name, every=every)
    await ctx.database.admin("reindex_collection", name=name, every=every, model=model)
    return counted["waiting"]


def _entry(ctx: Context, row: Record, counted: Record | None, *, tags: bool) -> Entry:
    told = ctx.who.is_service
    return Entry(
        row["name"],
        _short(ctx, row["schema"], row["table"]),
        row["text_column"],
        row["embedding_column"],
        row["tags_column"] if tags else None,
        row["next_model"] or row["model"],
        row["dimensions"],
        row["metric"],
        row["index_kind"],
        row["index_state"],
        row["chunk_size"],
        row["chunk_overlap"],
        _short(ctx, row["schema"], row["chunk_table"]),
        (counted["waiting"] if counted else 0) if told else None,
        (counted["failed"] if counted else 0) if told else None,
        row["seeding"] if told else None,
        (row["fault"] or (counted["error"] if counted else None) or row["index_error"])
        if told
        else None,
    )


def _short(ctx: Context, schema: str | None, table: str | None) -> str | None:
    if table is None or schema in (None, ctx.config.exposed_schemas[0]):
        return table
    return f"{schema}.{table}"


def _check_table(table: Visible) -> None:
    relation = table.relation
    if is_closed(relation.schema):
        raise Forbidden("table: internal schemas take no collections")
    if relation.kind != "table":
        raise InvalidArgument(
            "table: a collection is of a plain table, not of a view or partitions"
        )
    if not relation.primary_key:
        raise InvalidArgument("table: a primary key is needed to tell its rows apart")
    for name in relation.primary_key:
        column = relation.columns[name]
        if column.is_array or column.base in ("json", "jsonb"):
            raise InvalidArgument("table: a key of arrays or JSON cannot tell its rows apart here")


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


async def _check_use(ctx: Context, table: Visible, new: New) -> None:
    """Refuse a table or a column that the filling of a collection cannot work with."""
    oid, column = table.relation.oid, new.embedding_column
    if not new.chunk_size:
        for other in await ctx.database.admin("column_users", source=oid, column=column):
            raise Conflict(f"embedding_column: the collection {other['name']} has it already")
    [found] = await ctx.database.admin("sees_all_rows", source=oid)
    if not found["sees"]:
        raise InvalidArgument(
            "table: its row-level security is forced, and the owner of the database obeys it",
            hint="ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or give the owner BYPASSRLS",
        )


def _check_chunks(ctx: Context, table: Visible, new: New, embedder: Embedder) -> None:
    relation = table.relation
    if not relation.rls and relation.full_name not in ctx.config.rls_exceptions:
        raise InvalidArgument(
            "chunk_size: the table has no row-level security, so nobody could see its parts",
            hint="ALTER TABLE … ENABLE ROW LEVEL SECURITY, and give it a policy",
        )
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


def _dimensions(new: New, column: Column | None, embedder: Embedder) -> int:
    if column is None:
        if new.dimensions is None:
            raise InvalidArgument("dimensions: the length of the model's vectors is needed")
        return new.dimensions
    if column.base not in MOST_DIMENSIONS or column.is_array:
        raise InvalidArgument("embedding_column: it holds no vectors")
    if embedder.model is not None and (column.generated or not column.nullable):
        raise InvalidArgument("embedding_column: it must take a value, and no value (null)")
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


def _quoted(schema: str, table: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in (schema, table))
