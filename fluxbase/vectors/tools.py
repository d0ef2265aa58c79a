"""The tools for collections: tables whose texts get their vectors by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fluxbase.db.vector_index import Metric  # noqa: TC001 - pydantic reads it
from fluxbase.toolkit import Context, tool
from fluxbase.vectors import collections as room
from fluxbase.vectors.collections import Entry, IndexKind  # noqa: TC001 - pydantic reads it

_DDL = ("admin:ddl",)

Name = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_-]{0,54}$", description="Name of the collection")
]
Column = Annotated[str, Field(min_length=1, max_length=63)]


@dataclass(frozen=True, slots=True)
class Collections:
    """The collections there are for the caller."""

    collections: list[Entry]
    count: int


@dataclass(frozen=True, slots=True)
class CollectionCreated:
    """A new collection, and how many rows wait for their vectors."""

    created: bool
    collection: str
    waiting: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class CollectionDeleted:
    """A collection that is gone."""

    deleted: bool
    collection: str


@dataclass(frozen=True, slots=True)
class CollectionQueued:
    """How many rows of a collection wait for their vectors."""

    collection: str
    waiting: int


@tool(scopes=("read:vectors",), title="List collections", read_only=True)
async def list_collections(ctx: Context) -> Collections:
    """List the collections that search_vectors can search, with their tables and models.

    Service keys also see how many rows wait for their vectors (`waiting`), whether more are still
    to be queued (`seeding`), how many were given up (`failed`), and why.
    """
    found = await room.entries(ctx)
    return Collections(found, len(found))


@tool(scopes=_DDL, title="Create collection", service=True)
async def create_collection(
    ctx: Context,
    name: Name,
    table: Annotated[
        str, Field(min_length=1, max_length=200, description="Its table, or schema.table")
    ],
    text_column: Annotated[Column, Field(description="The column whose texts are embedded")],
    embedding_column: Annotated[
        Column, Field(description="The column of their vectors; made when there is none")
    ] = "embedding",
    dimensions: Annotated[
        int | None, Field(ge=1, le=16_000, description="Length of the vectors, for a new column")
    ] = None,
    metric: Annotated[Metric, Field(description="How distance is measured")] = "cosine",
    index: Annotated[
        IndexKind,
        Field(description="hnsw: best; ivfflat: smaller, from 1000 rows on; none: exact and slow"),
    ] = "hnsw",
    chunk_size: Annotated[
        int | None,
        Field(
            ge=50,
            le=100_000,
            description="Cut texts into parts of so many characters, kept in a table of their own "
            "with a vector each",
        ),
    ] = None,
    chunk_overlap: Annotated[
        int, Field(ge=0, le=10_000, description="Characters a part repeats of the one before")
    ] = 0,
    tags_column: Annotated[
        Column | None, Field(description="A column text[] for the tags of search_vectors")
    ] = None,
    dry_run: Annotated[bool, Field(description="Try it, and undo it")] = False,
) -> CollectionCreated:
    """Let the texts of a table be embedded by themselves, now and whenever they change.

    Who may see a row may see its vector and its parts, and nobody else. Without a model on the
    server clients give the vectors (`upsert_vectors`).
    """
    new = room.New(
        name,
        table,
        text_column,
        embedding_column,
        dimensions,
        metric,
        index,
        chunk_size,
        chunk_overlap,
        tags_column,
    )
    waiting = await room.create(ctx, new, dry_run=dry_run)
    return CollectionCreated(not dry_run, name, waiting, dry_run)


@tool(scopes=_DDL, title="Delete collection", service=True, destructive=True)
async def delete_collection(ctx: Context, name: Name) -> CollectionDeleted:
    """Remove a collection with its parts of texts; its table and a column of vectors stay."""
    await room.delete(ctx, name)
    return CollectionDeleted(True, name)


@tool(scopes=_DDL, title="Reindex collection", service=True, idempotent=True)
async def reindex_collection(
    ctx: Context,
    name: Name,
    every: Annotated[
        bool, Field(description="Embed all rows again, such as after a change of the model")
    ] = False,
) -> CollectionQueued:
    """Embed the rows without a vector and those given up, then build the index for their number.

    It goes on in the background; list_collections tells how far it is.
    """
    return CollectionQueued(name, await room.reindex(ctx, name, every=every))
