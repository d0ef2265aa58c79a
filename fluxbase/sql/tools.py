"""The tools for free SQL."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fluxbase.errors import Forbidden, InvalidArgument
from fluxbase.sql.judge import judge
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonRows

if TYPE_CHECKING:
    from fluxbase.db.alone import Lone, Rows
    from fluxbase.sql.judge import Judged

_READ = ("execute:sql",)
_WRITE = ("execute:sql_write",)

Statement = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100_000,
        description="One statement of Postgres, with $1, $2 … for values",
    ),
]
Values = Annotated[
    list[Any] | None,
    Field(max_length=100, description="Values of $1, $2 …; cast them where needed: $1::uuid"),
]


@dataclass(frozen=True, slots=True)
class SqlRules:
    """What the configuration says of free SQL."""

    max_cost: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gave, or changed."""

    success: bool
    row_count: int
    columns: list[str]
    rows: JsonRows
    truncated: bool
    summary: str
    duration_ms: float
    tables: list[str]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How Postgres means to run a statement."""

    plan: dict[str, Any]
    cost: float
    rows: int
    tables: list[str]


class TooCostly(InvalidArgument):
    """Postgres expects the statement to cost more than is allowed."""

    title = "The statement would cost too much"


@tool(
    scopes=_READ,
    title="Execute SQL",
    destructive=True,
    untrusted=True,
    for_readers=True,
)
async def execute_sql(
    ctx: Context,
    sql: Statement,
    description: Annotated[
        str, Field(min_length=1, max_length=1000, description="What it is for, in a sentence")
    ],
    params: Values = None,
    limit: Annotated[int, Field(ge=1, le=1_000_000, description="Most rows to return")] = 100,
    write: Annotated[
        bool, Field(description="The statement changes rows (INSERT, UPDATE, DELETE)")
    ] = False,
    dry_run: Annotated[
        bool, Field(description="With write: report what would change, and undo it")
    ] = False,
) -> Result:
    """Run one SQL statement with the rights of the key; without `write` it can only read.

    Tables are those of list_tables, under the same row-level security. Use query_table where it can
    do the same.
    """
    del description  # for people who read along at the client; nothing of it is kept here
    if write and not ctx.who.holds(_WRITE):
        raise Forbidden("write: true needs the scope execute:sql_write")
    if write and ctx.who.read_only:
        raise Forbidden("this key may only read")
    if dry_run and not write:
        raise InvalidArgument("dry_run: it is for statements that change rows (write: true)")
    judged = await _judged(ctx, sql, params, write=write)
    most = min(limit, ctx.max_rows)
    started = time.perf_counter()
    async with ctx.database.alone.open(ctx.who, write=judged.writes) as session:
        await _check_cost(ctx, session, judged)
        if judged.writes and not dry_run:
            await ctx.record(", ".join(judged.tables))
        rows, changed = await _run(ctx, session, judged, most)
        if judged.writes and dry_run:
            await session.check()
        elif judged.writes:
            await session.keep()
    count = changed if rows is None else len(rows.rows)
    ctx.rows = count
    return Result(
        success=True,
        row_count=count,
        columns=[] if rows is None else list(rows.columns),
        rows=JsonRows("[]" if rows is None else f"[{b','.join(rows.rows).decode()}]"),
        truncated=rows is not None and rows.truncated,
        summary=_summary(judged, count, rows, dry_run=dry_run),
        duration_ms=round((time.perf_counter() - started) * 1000, 2),
        tables=list(judged.tables),
        dry_run=dry_run,
    )


@tool(scopes=_READ, title="Explain query", read_only=True)
async def explain_query(
    ctx: Context,
    sql: Statement,
    params: Values = None,
    analyze: Annotated[bool, Field(description="Run it, and tell what it really took")] = False,
) -> Plan:
    """Show how Postgres would run a SELECT: its plan, its estimated cost and rows."""
    judged = await _judged(ctx, sql, params, write=False)
    async with ctx.database.alone.open(ctx.who, write=False) as session:
        if analyze:
            await _check_cost(ctx, session, judged)
        plan = await session.plan(judged.text, list(judged.values), analyze=analyze)
    top = plan["Plan"]
    return Plan(plan, float(top["Total Cost"]), int(top["Plan Rows"]), list(judged.tables))


async def _judged(ctx: Context, text: str, params: Values, *, write: bool) -> Judged:
    seen = await ctx.catalog.visible(ctx.who)
    judged = judge(text, params or [], seen, ctx.config.exposed_schemas, write=write)
    ctx.target = ", ".join(judged.tables) or None
    return judged


async def _check_cost(ctx: Context, session: Lone, judged: Judged) -> None:
    cost = await session.cost(judged.text, list(judged.values))
    most = ctx.service(SqlRules).max_cost
    if cost > most:
        raise TooCostly(
            f"the statement is expected to cost {cost:.0f}, and {most:.0f} is allowed",
            hint="ask for less, or by an index; explain_query shows the plan",
        )


async def _run(ctx: Context, session: Lone, judged: Judged, most: int) -> tuple[Rows | None, int]:
    values = list(judged.values)
    if not judged.returns_rows:
        return None, await session.run(judged.text, values)
    rows = await session.read(judged.text, values, most, ctx.config.max_bytes)
    return rows, len(rows.rows)


def _summary(judged: Judged, count: int, rows: Rows | None, *, dry_run: bool) -> str:
    noun = "row" if count == 1 else "rows"
    if not judged.writes:
        more = " (there are more)" if rows is not None and rows.truncated else ""
        return f"{count} {noun}{more}"
    return f"{count} {noun} would change" if dry_run else f"{count} {noun} changed"
