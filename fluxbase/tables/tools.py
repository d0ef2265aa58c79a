"""The tools that read and write rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fluxbase.errors import Forbidden, InvalidArgument, InvalidData, TooLarge, TooManyAffected
from fluxbase.tables import build, diagnose, filters, plan, projection, writes
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonRows, write

if TYPE_CHECKING:
    from fluxbase.db.relation import Visible
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import Record

Table = Annotated[
    str,
    Field(min_length=1, max_length=200, description="Table name, or schema.table"),
]
Filter = Annotated[
    dict[str, Any],
    Field(
        description='Conditions by column, all must hold: {"age": "gte.18", "id": 5}. '
        "Operators: eq neq gt gte lt lte like ilike is isnot in nin cs cd ov. Several on one "
        'column as a list: ["gte.1", "lt.9"]'
    ),
]
Returning = Annotated[
    str, Field(description="Columns of the written rows to return, * for all, '' for none")
]
DryRun = Annotated[bool, Field(description="Try it, report what would change, and undo it")]
MaxAffected = Annotated[
    int, Field(ge=1, le=1_000_000, description="Refuse, changing nothing, if more rows match")
]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and how to get the next ones."""

    rows: JsonRows
    truncated: bool
    next_offset: int | None
    total: int | None

    def text(self) -> str:
        """Return the rows as a bare JSON array."""
        return self.rows


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


@tool(scopes=("read:tables",), title="Query a table", read_only=True)
async def query_table(
    ctx: Context,
    table: Table,
    select: Annotated[str, Field(description="Columns such as id,email, or *")] = "*",
    filter: Filter | None = None,  # noqa: A002 - the argument's name in the protocol
    order: Annotated[
        str | None, Field(description="Sorting such as created_at.desc,id.asc.nullslast")
    ] = None,
    limit: Annotated[int, Field(ge=1, description="Most rows to return")] = 100,
    offset: Annotated[int, Field(ge=0, le=2**53, description="Rows to skip")] = 0,
    count: Annotated[
        Literal["exact"] | None, Field(description="Also count all matching rows")
    ] = None,
) -> Page:
    """Read rows of a table under the caller's row-level security.

    Returns a JSON array of rows. Only rows the caller may see exist. When there are more rows than
    `limit`, `truncated` is true and `next_offset` says where to go on.
    """
    target = await _find(ctx, table)
    columns = projection.columns(target, select)
    conditions = filters.parse(target, filter or {})
    asked = plan.Read(
        table=target,
        columns=columns,
        where=conditions,
        order=projection.sorting(target, order),
        limit=_limit(ctx, limit),
        offset=offset,
        count=count,
        max_bytes=ctx.config.max_bytes,
    )
    row = await _run(ctx, build.read(asked), conditions)
    text, kept, seen, total = row[1], row[2], row[3], row[4]
    if not kept and seen:
        raise TooLarge(
            f"the row at offset {offset} alone is larger than {ctx.config.max_bytes} bytes",
            hint="select fewer columns",
        )
    ctx.rows = kept
    truncated = seen > kept
    return Page(JsonRows(text), truncated, offset + kept if truncated else None, total)


@tool(scopes=("read:tables",), title="Count records", read_only=True)
async def count_records(ctx: Context, table: Table, filter: Filter | None = None) -> Counted:  # noqa: A002
    """Count the rows of a table that meet a filter and that the caller may see."""
    target = await _find(ctx, table)
    projection.columns(target, "*")
    conditions = filters.parse(target, filter or {})
    row = await _run(ctx, build.count(target.relation, conditions), conditions)
    return Counted(row[1])


@tool(scopes=("write:tables",), title="Insert records")
async def insert_record(
    ctx: Context,
    table: Table,
    data: Annotated[
        dict[str, Any] | list[dict[str, Any]],
        Field(description="One row as an object, or several as an array with the same columns"),
    ],
    returning: Returning = "*",
    on_conflict: Annotated[
        str | None,
        Field(description="Columns of a unique constraint: update the row that has them already"),
    ] = None,
    on_conflict_action: Annotated[
        Literal["update", "ignore"], Field(description="What on_conflict does with that row")
    ] = "update",
    dry_run: DryRun = False,
) -> Inserted:
    """Insert one row or many, all or none, and return them as stored.

    A row that the caller's policies do not allow refuses the whole call.
    """
    target = await _find(ctx, table)
    rows = data if isinstance(data, list) else [data]
    if len(rows) > ctx.max_rows:
        raise InvalidArgument(f"data: at most {ctx.max_rows} rows in one call")
    grant = target.grant
    columns = writes.written_columns(target, rows, _writable(grant.insert), "data")
    conflict = None
    if on_conflict is not None:
        conflict = (projection.columns(target, on_conflict, "on_conflict"), on_conflict_action)
    back = _back(ctx, target, returning)
    statement = writes.insert(target, rows, columns, conflict, back)
    try:
        async with ctx.write(target, dry_run=dry_run) as session:
            row = await session.fetchrow(statement)
    except InvalidData as error:
        raise await diagnose.explain_rows(ctx, target, rows, error) from error
    ctx.rows = row[1]
    return Inserted(row[1], JsonRows(row[2]), _cut(row, back), dry_run)


@tool(scopes=("write:tables",), title="Update records", destructive=True, idempotent=True)
async def update_record(
    ctx: Context,
    table: Table,
    data: Annotated[dict[str, Any], Field(description="Columns to set and their new values")],
    filter: Filter,  # noqa: A002 - the argument's name in the protocol
    returning: Returning = "*",
    max_affected: MaxAffected = 1000,
    dry_run: DryRun = False,
) -> Updated:
    """Change the rows that meet a filter, all or none; the filter must not be empty."""
    target, conditions = await _matched(ctx, table, filter)
    columns = writes.written_columns(target, [data], _writable(target.grant.update), "data")
    back = _back(ctx, target, returning)
    statement = writes.update(target, data, columns, conditions, back)
    try:
        row = await _change(ctx, target, statement, conditions, max_affected, dry_run=dry_run)
    except InvalidData as error:
        raise await diagnose.explain_rows(ctx, target, [data], error) from error
    return Updated(row[1], JsonRows(row[2]), _cut(row, back), dry_run)


@tool(scopes=("write:tables",), title="Delete records", destructive=True, idempotent=True)
async def delete_record(
    ctx: Context,
    table: Table,
    filter: Filter,  # noqa: A002 - the argument's name in the protocol
    returning: Returning = "*",
    max_affected: MaxAffected = 1000,
    dry_run: DryRun = False,
) -> Deleted:
    """Delete the rows that meet a filter, all or none; the filter must not be empty."""
    target, conditions = await _matched(ctx, table, filter)
    if not target.grant.delete:
        raise Forbidden("the database does not allow this caller to delete from the table")
    back = _back(ctx, target, returning)
    statement = writes.delete(target, conditions, back)
    row = await _change(ctx, target, statement, conditions, max_affected, dry_run=dry_run)
    return Deleted(row[1], JsonRows(row[2]), _cut(row, back), dry_run)


async def _find(ctx: Context, table: str) -> Visible:
    target = await ctx.catalog.find(ctx.who, table)
    ctx.target = target.relation.full_name
    return target


async def _matched(ctx: Context, table: str, filter_: dict[str, Any]) -> tuple[Visible, plan.All]:
    target = await _find(ctx, table)
    if not filter_:
        raise InvalidArgument(
            "filter: an empty filter would touch every row",
            hint="name the rows, for example by their id",
        )
    return target, filters.parse(target, filter_)


async def _run(ctx: Context, statement: Statement, conditions: plan.All) -> Record:
    try:
        return await ctx.read(statement)
    except InvalidData as error:
        raise await diagnose.explain(ctx, conditions, error) from error


async def _change(
    ctx: Context,
    target: Visible,
    statement: Statement,
    conditions: plan.All,
    max_affected: int,
    *,
    dry_run: bool,
) -> Record:
    try:
        async with ctx.write(target, dry_run=dry_run) as session:
            row = await session.fetchrow(statement)
            if row[1] > max_affected:
                raise TooManyAffected(
                    f"{row[1]} rows match, more than max_affected ({max_affected}); "
                    "nothing was changed",
                    hint="narrow the filter, or raise max_affected",
                )
    except InvalidData as error:
        raise await diagnose.explain(ctx, conditions, error) from error
    ctx.rows = row[1]
    return row


def _limit(ctx: Context, limit: int) -> int:
    if limit > ctx.config.max_rows:
        raise InvalidArgument(
            f"limit: at most {ctx.config.max_rows} rows in one answer",
            hint="read on with offset",
        )
    # A key's own maximum may lie below the default limit; `truncated` then tells the caller.
    return min(limit, ctx.max_rows)


def _back(ctx: Context, target: Visible, returning: str) -> writes.Written:
    # Who may write but not read still can write: then there is nothing that `*` could return.
    nothing = not returning.strip() or (returning.strip() == "*" and not target.readable)
    columns = () if nothing else projection.columns(target, returning, "returning")
    return writes.Written(columns, ctx.max_rows, ctx.config.max_bytes)


def _writable(columns: frozenset[str]) -> frozenset[str]:
    if not columns:
        raise Forbidden("the database does not allow this caller to write to the table this way")
    return columns


def _cut(row: Record, back: writes.Written) -> bool:
    """Return whether some of the written rows are not among the records, though asked for."""
    return bool(back.columns) and row[3] < row[1]
