"""The tools that read and write rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fluxbase.errors import InvalidArgument
from fluxbase.grammar.query import Settings
from fluxbase.tables import reading, writing
from fluxbase.tables.nearest import THRESHOLD, Near, nearest, vector_of
from fluxbase.tables.plan import Count  # noqa: TC001 - pydantic reads it
from fluxbase.tables.rest import link
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonRows, spliced, write

if TYPE_CHECKING:
    from collections.abc import Mapping

Table = Annotated[
    str,
    Field(min_length=1, max_length=200, description="Table name, or schema.table"),
]
Filter = Annotated[
    dict[str, Any],
    Field(
        description='Conditions by column, all must hold: {"age": "gte.18", "id": 5} or '
        '{"age": {"gte": 18}}. Operators: eq neq gt gte lt lte like ilike match imatch is isnot in '
        "nin isdistinct cs cd ov fts plfts phfts wfts sl sr nxr nxl adj; 'not.' before, (any) or "
        '(all) after: "like(any).{a*,b*}". Several on one column as a list. Groups: '
        '{"or": [{"a": 1}, {"b": "is.null"}]}. JSON: "data->>kind". Embedded: "author.name".'
    ),
]
Returning = Annotated[
    str,
    Field(
        description="Columns of the written rows to return, related tables too, * for all, "
        "'' for none"
    ),
]
DryRun = Annotated[bool, Field(description="Try it, report what would change, and undo it")]
MaxAffected = Annotated[
    int, Field(ge=1, le=1_000_000, description="Refuse, changing nothing, if more rows match")
]
IfMatch = Annotated[
    dict[str, Any] | None,
    Field(
        description='Values the rows must still have, such as {"version": 3}; if one differs, '
        "nothing is changed"
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f]+$",
        description="A word of your own for this call: sent again within a day, it answers as the "
        "first time and changes nothing",
    ),
]


@checked(config=ConfigDict(extra="forbid"), frozen=True, slots=True)
class Embedded:
    """What is asked of the rows of one embedded table."""

    filter: dict[str, Any] | None = None
    order: str | None = None
    limit: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    offset: Annotated[int, Field(ge=0, le=2**53)] | None = None


@checked(config=ConfigDict(extra="forbid"), frozen=True, slots=True)
class VectorSearch:
    """What the rows are to be near to."""

    column: Annotated[str, Field(max_length=63)]
    query: Annotated[str, Field(min_length=1, max_length=32_000)] | None = None
    embedding: list[float] | None = None
    threshold: float = THRESHOLD


@dataclass(slots=True)
class Page:
    """Rows, and how to get the next ones."""

    rows: JsonRows
    truncated: bool
    next_offset: int | None
    total: int | None
    next_after: str | None = None
    columns: tuple[str, ...] | None = None
    csv: str | None = None

    def text(self) -> str:
        """Return the rows as a bare JSON array, or as the compact form that was asked for."""
        if self.csv is not None:
            return self.csv
        if self.columns is not None:
            return write({"columns": self.columns, "rows": self.rows}).decode()
        return self.rows

    def as_json(self) -> dict[str, Any]:
        """Return the page without what it does not have."""
        found: dict[str, Any] = {
            "rows": spliced(self.rows),
            "truncated": self.truncated,
            "next_offset": self.next_offset,
            "total": self.total,
        }
        if self.next_after is not None:
            found["next_after"] = self.next_after
        if self.columns is not None:
            found["columns"] = self.columns
        if self.csv is not None:
            found["csv"] = self.csv
        return found


@dataclass(frozen=True, slots=True)
class Inserted:
    """What was inserted."""

    inserted: int
    records: JsonRows
    truncated: bool
    dry_run: bool

    def text(self) -> str:
        """Return the one row as an object, or several as an array.

        Without rows to show, or when nothing was kept, the whole result tells what happened.
        """
        if self.dry_run or self.truncated or self.records == "[]":
            return write(self).decode()
        return self.records[1:-1] if self.inserted == 1 else self.records


@dataclass(frozen=True, slots=True)
class Updated:
    """What was updated."""

    updated: int
    records: JsonRows
    truncated: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted."""

    deleted: int
    records: JsonRows
    truncated: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """How many rows there are for the caller."""

    count: int


@tool(scopes=("read:tables",), title="Query a table", read_only=True, untrusted=True)
async def query_table(
    ctx: Context,
    table: Table,
    select: Annotated[
        str,
        Field(
            max_length=65_536,
            description="Columns such as id,email or *; total:amount.sum(),data->>kind,day::text; "
            "related tables: *,author(name),comments(id,body)",
        ),
    ] = "*",
    filter: Filter | None = None,  # noqa: A002 - the argument's name in the protocol
    order: Annotated[
        str | None,
        Field(
            max_length=65_536,
            description="Sorting such as created_at.desc.nullslast,id or author(name)",
        ),
    ] = None,
    limit: Annotated[int, Field(ge=1, description="Most rows to return")] = 100,
    offset: Annotated[int, Field(ge=0, le=2**53, description="Rows to skip")] = 0,
    after: Annotated[
        str | None,
        Field(description="Go on where a page ended: its next_after; '' for the first page"),
    ] = None,
    count: Annotated[
        Count | None,
        Field(description="Also count all matching rows: exactly, or fast where there are many"),
    ] = None,
    embed: Annotated[
        dict[str, Embedded] | None,
        Field(
            description="Order, limit, offset and filter of embedded tables by path: "
            '{"comments": {"order": "id.desc", "limit": 3}}'
        ),
    ] = None,
    output: Annotated[
        reading.Output,
        Field(description="json, or with fewer tokens: columns (names once), csv"),
    ] = "json",
    max_bytes: Annotated[
        int | None, Field(ge=256, description="Most bytes of rows in the answer")
    ] = None,
    vector_search: Annotated[
        VectorSearch | None,
        Field(
            description="The rows nearest in meaning instead of an order: "
            '{"query": "late delivery", "column": "embedding"}; adds similarity'
        ),
    ] = None,
) -> Page:
    """Read rows of a table under the caller's row-level security, in PostgREST's grammar.

    Returns a JSON array of rows. Only rows the caller may see exist. When there are more rows than
    `limit`, `truncated` is true; go on with `next_offset`, or with `next_after` when rows are
    sorted. Related tables are embedded through foreign keys: select
    `id,author(name),comments!inner(body)`; `!name` tells between several relationships.
    """
    if vector_search is not None:
        if (order, after, count, embed, output, offset) != (None, None, None, None, "json", 0):
            raise InvalidArgument(
                "vector_search: order, offset, after, count, embed and output do not go with it"
            )
        return await _nearest(ctx, vector_search, table, select, filter, limit)
    wanted = reading.Wanted(
        table, select, filter, order, limit, offset, after, count,
        _settings(embed), output, max_bytes,
    )  # fmt: skip
    found = await reading.page(ctx, wanted)
    if found.cut:
        ctx.more = link(wanted, found)
    next_offset = offset + found.kept if found.truncated and after is None else None
    rows = JsonRows(found.text)
    if output == "json":
        return Page(rows, found.truncated, next_offset, found.total, found.next_after)
    names = found.columns
    if output == "columns":
        return Page(rows, found.truncated, next_offset, found.total, found.next_after, names)
    csv = reading.csv(names, found.text)
    none = JsonRows("[]")
    return Page(none, found.truncated, next_offset, found.total, found.next_after, None, csv)


async def _nearest(
    ctx: Context,
    wanted: VectorSearch,
    table: str,
    select: str,
    filters: dict[str, Any] | None,
    limit: int,
) -> Page:
    if (wanted.query is None) == (wanted.embedding is None):
        raise InvalidArgument("vector_search: give either query or embedding")
    vector = wanted.embedding
    if vector is None and wanted.query is not None:
        vector = await vector_of(ctx, wanted.query)
    near = Near(
        table=table,
        column=wanted.column,
        vector=vector,
        words=None,
        text=None,
        threshold=wanted.threshold,
        limit=min(limit, ctx.max_rows),
        select=select,
        filter=filters,
    )
    found = await nearest(ctx, near)
    return Page(JsonRows(found.text), truncated=False, next_offset=None, total=None)


@tool(scopes=("read:tables",), title="Count records", read_only=True)
async def count_records(ctx: Context, table: Table, filter: Filter | None = None) -> Counted:  # noqa: A002
    """Count the rows of a table that meet a filter and that the caller may see."""
    return Counted(await reading.count(ctx, table, filter))


@tool(scopes=("write:tables",), title="Insert records", untrusted=True)
async def insert_record(
    ctx: Context,
    table: Table,
    data: Annotated[
        dict[str, Any] | list[dict[str, Any]],
        Field(
            description="One row as an object, or several as an array; columns left out get their "
            "defaults"
        ),
    ],
    returning: Returning = "*",
    on_conflict: Annotated[
        str | None,
        Field(
            description="Columns of a unique constraint, or its name: what to do with the row that "
            "has them already"
        ),
    ] = None,
    on_conflict_action: Annotated[
        Literal["update", "ignore"] | None,
        Field(
            description="Update that row (default) or ignore the new one; ignore without "
            "on_conflict ignores any duplicate"
        ),
    ] = None,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Inserted:
    """Insert one row or many, all or none, and return them as stored.

    A row that the caller's policies do not allow refuses the whole call.
    """
    rows = data if isinstance(data, list) else [data]
    manner = writing.Manner(returning, dry_run, idempotency_key)
    done = await writing.insert(ctx, table, rows, on_conflict, on_conflict_action, manner)
    return Inserted(done.rows, JsonRows(done.records), done.truncated, dry_run)


@tool(
    scopes=("write:tables",),
    title="Update records",
    destructive=True,
    idempotent=True,
    untrusted=True,
)
async def update_record(
    ctx: Context,
    table: Table,
    data: Annotated[dict[str, Any], Field(description="Columns to set and their new values")],
    filter: Filter,  # noqa: A002 - the argument's name in the protocol
    returning: Returning = "*",
    max_affected: MaxAffected = 1000,
    dry_run: DryRun = False,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Updated:
    """Change the rows that meet a filter, all or none; the filter must not be empty."""
    manner = writing.Manner(returning, dry_run, idempotency_key)
    done = await writing.update(ctx, table, data, filter, if_match, max_affected, manner)
    return Updated(done.rows, JsonRows(done.records), done.truncated, dry_run)


@tool(
    scopes=("write:tables",),
    title="Delete records",
    destructive=True,
    idempotent=True,
    untrusted=True,
)
async def delete_record(
    ctx: Context,
    table: Table,
    filter: Filter,  # noqa: A002 - the argument's name in the protocol
    returning: Returning = "*",
    max_affected: MaxAffected = 1000,
    dry_run: DryRun = False,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Deleted:
    """Delete the rows that meet a filter, all or none; the filter must not be empty."""
    manner = writing.Manner(returning, dry_run, idempotency_key)
    done = await writing.delete(ctx, table, filter, if_match, max_affected, manner)
    return Deleted(done.rows, JsonRows(done.records), done.truncated, dry_run)


def _settings(embed: Mapping[str, Embedded] | None) -> dict[str, Settings] | None:
    if not embed:
        return None
    return {
        path: Settings(given.filter, given.order, given.limit, given.offset)
        for path, given in embed.items()
    }
