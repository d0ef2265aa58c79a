"""The tools that show what tables there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fluxbase.schema.describe import TableEntry, TableInfo, entry, table_info
from fluxbase.toolkit import Context, tool


@dataclass(frozen=True, slots=True)
class Tables:
    """A page of tables."""

    tables: list[TableEntry]
    next_offset: int | None


@tool(scopes=("read:schema", "read:tables"), title="List tables", read_only=True)
async def list_tables(
    ctx: Context,
    schema: Annotated[str | None, Field(description="Only tables of this schema")] = None,
    limit: Annotated[int, Field(ge=1, le=1000, description="Most tables to return")] = 100,
    offset: Annotated[int, Field(ge=0, description="Tables to skip")] = 0,
) -> Tables:
    """List the tables and views the caller may use, with their columns and privileges."""
    seen = await ctx.catalog.visible(ctx.who)
    found = [t for t in seen.values() if schema is None or t.relation.schema == schema]
    page = found[offset : offset + limit]
    more = offset + limit if offset + limit < len(found) else None
    ctx.rows = len(page)
    return Tables([entry(table) for table in page], more)


@tool(scopes=("read:schema", "read:tables"), title="Describe a table", read_only=True)
async def describe_table(
    ctx: Context,
    table: Annotated[
        str, Field(min_length=1, max_length=200, description="Table name, or schema.table")
    ],
) -> TableInfo:
    """Describe a table: columns, keys, indexes, the caller's privileges and its policies."""
    target = await ctx.catalog.find(ctx.who, table)
    ctx.target = target.relation.full_name
    return await table_info(ctx, target)
