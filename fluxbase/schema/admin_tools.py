"""The tools that show the database as a whole, to administrators; and its types, to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field

from fluxbase.db.relation import Visible  # noqa: TC001 - a type of this module
from fluxbase.errors import InvalidArgument, Unavailable
from fluxbase.schema import advice, types
from fluxbase.schema.describe import PolicyInfo, table_info
from fluxbase.toolkit import Context, tool

_READ = ("read:schema",)

Table = Annotated[
    str, Field(min_length=1, max_length=200, description="Table name, or schema.table")
]


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema; those of Postgres and of this server are of the system."""

    name: str
    is_system: bool


@dataclass(frozen=True, slots=True)
class Schemas:
    """The schemas there are for the caller."""

    schemas: list[Schema]
    count: int


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """A policy and the table it is on."""

    table: str
    row_level_security: bool
    policy: PolicyInfo


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies that apply to the caller."""

    policies: list[TablePolicy]
    count: int


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension: `version` is null where it is not installed."""

    name: str
    version: str | None
    default_version: str | None
    schema: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions of the database."""

    extensions: list[Extension]
    count: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """How an index is used."""

    name: str
    scans: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TableStats:
    """How large a table is and how it is used, since Postgres keeps count."""

    table: str
    row_estimate: int
    table_bytes: int
    index_bytes: int
    total_bytes: int
    seq_scans: int
    seq_rows_read: int
    index_scans: int
    live_rows: int
    dead_rows: int
    inserted: int
    updated: int
    deleted: int
    last_vacuum: str | None
    last_analyze: str | None
    indexes: list[IndexStats]


@dataclass(frozen=True, slots=True)
class Statement:
    """A kind of statement and what it cost; times in milliseconds."""

    query: str
    calls: int
    total_ms: float
    mean_ms: float
    rows: int


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements that took most time."""

    statements: list[Statement]
    count: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What to look at."""

    findings: list[advice.Advice]
    count: int


@dataclass(frozen=True, slots=True)
class Types:
    """The text of a module."""

    language: str
    source: str
    tables: int


@tool(scopes=_READ, title="List schemas", read_only=True)
async def list_schemas(
    ctx: Context,
    include_system: Annotated[
        bool, Field(description="Those of Postgres and of this server too (service keys)")
    ] = False,
) -> Schemas:
    """List the schemas in which the caller sees a table; to service keys, every schema."""
    if ctx.who.is_service:
        rows = await ctx.database.admin("list_schemas", system=include_system)
        found = [Schema(row["name"], row["is_system"]) for row in rows]
        return Schemas(found, len(found))
    if include_system:
        raise InvalidArgument("include_system: it is for service keys")
    names = sorted({schema for schema, _ in await ctx.catalog.visible(ctx.who)})
    return Schemas([Schema(name, is_system=False) for name in names], len(names))


@tool(scopes=_READ, title="List policies", read_only=True)
async def list_policies(
    ctx: Context,
    table: Annotated[str | None, Field(max_length=200, description="Only of this table")] = None,
) -> Policies:
    """List the row-level security policies that apply to the caller, table by table."""
    tables: list[Visible] = (
        list((await ctx.catalog.visible(ctx.who)).values())
        if table is None
        else [await ctx.catalog.find(ctx.who, table)]
    )
    found: list[TablePolicy] = []
    for seen in tables:
        info = await table_info(ctx, seen)
        name = seen.relation.full_name
        found += [TablePolicy(name, info.row_level_security, policy) for policy in info.policies]
    return Policies(found, len(found))


@tool(scopes=_READ, title="Generate types", read_only=True)
async def generate_types(
    ctx: Context,
    language: Annotated[types.Language, Field(description="typescript or python")] = "typescript",
    schema: Annotated[str | None, Field(max_length=63, description="Only of this schema")] = None,
) -> Types:
    """Write types of the tables that the caller sees: what a row, an insert and an update hold."""
    seen = (await ctx.catalog.visible(ctx.who)).values()
    tables = [t for t in seen if schema is None or t.relation.schema == schema]
    return Types(language, types.write(tables, language), len(tables))


@tool(scopes=_READ, title="List extensions", read_only=True, service=True)
async def list_extensions(ctx: Context) -> Extensions:
    """List the extensions that are installed, and those that could be."""
    rows = await ctx.database.admin("list_extensions")
    return Extensions([Extension(**dict(row)) for row in rows], len(rows))


@tool(scopes=_READ, title="Table statistics", read_only=True, service=True)
async def get_table_stats(ctx: Context, table: Table) -> TableStats:
    """Tell how large a table is, how it and its indexes are used, and how much of it is dead."""
    target = (await ctx.catalog.find(ctx.who, table)).relation
    ctx.target = target.full_name
    rows = await ctx.database.admin("table_stats", schema=target.schema, name=target.name)
    if not rows:
        raise Unavailable("the table was changed at this moment; try again")
    facts: dict[str, Any] = dict(rows[0])
    indexes = [IndexStats(**index) for index in orjson.loads(facts.pop("indexes"))]
    return TableStats(table=target.full_name, **facts, indexes=indexes)


@tool(scopes=_READ, title="Slow queries", read_only=True, service=True, untrusted=True)
async def slow_queries(
    ctx: Context,
    limit: Annotated[int, Field(ge=1, le=200, description="Most statements to return")] = 20,
) -> Statements:
    """List the statements that took most time in all, as pg_stat_statements counts them."""
    where = await ctx.database.admin("has_statements")
    if not where or not where[0]["loaded"]:
        raise InvalidArgument(
            "pg_stat_statements is not installed",
            hint="set shared_preload_libraries = 'pg_stat_statements', restart Postgres, and "
            "CREATE EXTENSION pg_stat_statements",
        )
    rows = await ctx.database.statements(where[0]["schema"], limit)
    found = [Statement(**dict(row)) for row in rows]
    return Statements(found, len(found))


@tool(scopes=_READ, title="Advise on security", read_only=True, service=True)
async def advise_security(ctx: Context) -> Findings:
    """Find what clients may reach too much by, each with SQL that mends it."""
    found = await advice.security(ctx)
    return Findings(found, len(found))


@tool(scopes=_READ, title="Advise on performance", read_only=True, service=True)
async def advise_performance(ctx: Context) -> Findings:
    """Find missing, unused and duplicate indexes, bloat and whole reads, with SQL to mend each."""
    found = await advice.performance(ctx)
    return Findings(found, len(found))
