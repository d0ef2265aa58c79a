"""The resources that show what tables there are."""

from __future__ import annotations

from typing import Final

import orjson

from fluxbase.errors import UnknownResource, UnknownTable
from fluxbase.schema.describe import entry, table_info
from fluxbase.toolkit import Context, resource

_MOST_BYTES: Final = 262_144


@resource(
    "fluxbase://schema/tables",
    scopes=("read:schema", "read:tables"),
    title="Database tables",
    follows="catalog",
)
async def tables(ctx: Context) -> str:
    """Show the tables and views the caller may use, compactly."""
    return await _page(ctx, 0)


@resource(
    "fluxbase://schema/tables?offset={offset}",
    scopes=("read:schema", "read:tables"),
    title="Database tables, further pages",
    follows="catalog",
)
async def more_tables(ctx: Context, offset: str) -> str:
    """Show the tables from an offset on; `next` of a page names the following one."""
    # isdigit() alone lets superscripts through, which int() cannot read.
    if not (offset.isascii() and offset.isdigit()) or len(offset) > 9:
        raise UnknownResource("no such resource", hint="the offset is a number")
    return await _page(ctx, int(offset))


@resource(
    "fluxbase://schema/tables/{schema}/{table}",
    scopes=("read:schema", "read:tables"),
    title="One table",
    follows="catalog",
)
async def table_schema(ctx: Context, schema: str, table: str) -> str:
    """Describe a table: columns, keys, indexes, the caller's privileges and its policies."""
    seen = await ctx.catalog.visible(ctx.who)
    target = seen.get((schema, table))
    if target is None:
        raise UnknownResource("no such resource") from UnknownTable()
    ctx.target = target.relation.full_name
    return orjson.dumps(await table_info(ctx, target)).decode()


async def _page(ctx: Context, offset: int) -> str:
    """Return the tables from `offset` on, as many as fit into the size limit."""
    seen = list((await ctx.catalog.visible(ctx.who)).values())
    parts: list[bytes] = []
    size = 0
    for table in seen[offset:]:
        part = orjson.dumps(entry(table))
        if parts and size + len(part) > _MOST_BYTES:
            break
        parts.append(part)
        size += len(part) + 1
    end = offset + len(parts)
    following = f"fluxbase://schema/tables?offset={end}" if end < len(seen) else None
    body = {"tables": [orjson.Fragment(part) for part in parts], "next": following}
    return orjson.dumps(body).decode()
