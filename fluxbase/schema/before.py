"""Reads what a change is about to overwrite, as Postgres writes it; it must change nothing.

Every name in it is whole, whatever a session's search path is, so that it can be put back anywhere.
What is asked for is judged before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fluxbase.db.sql import Sql
from fluxbase.errors import InvalidArgument, UnknownTable
from fluxbase.schema.ddl_parts import plain_name, policy_name, relation

if TYPE_CHECKING:
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

Kind = Literal["index", "table", "enum"]


@dataclass(frozen=True, slots=True)
class TableBefore:
    """A table as it is."""

    protected: bool
    comment: str | None


@dataclass(frozen=True, slots=True)
class ColumnBefore:
    """A column as it is: `type` with its collation where that is not the usual one."""

    type: Sql
    default: Sql | None
    nullable: bool
    generated: bool


@dataclass(frozen=True, slots=True)
class PolicyBefore:
    """A policy as it is; its expressions stand in brackets."""

    command: str
    permissive: bool
    roles: Sql
    using: Sql | None
    check: Sql | None


async def table_before(ctx: Context, schema: str, table: str) -> TableBefore:
    """Return a table.

    Raises:
        UnknownTable: there is none of this name.
    """
    relation(schema, table)
    found = await _one(ctx, "table_before", schema=schema, table=table)
    if found is None:
        raise UnknownTable("table: no such table")
    return TableBefore(found["protected"], found["comment"])


async def column_before(ctx: Context, schema: str, table: str, column: str) -> ColumnBefore | None:
    """Return a column, or None where there is none."""
    relation(schema, table)
    plain_name(column, "column")
    found = await _one(ctx, "column_before", schema=schema, table=table, column=column)
    if found is None:
        return None
    return ColumnBefore(
        Sql(found["type"]), _sql(found["default"]), found["nullable"], found["generated"]
    )


async def policy_before(ctx: Context, schema: str, table: str, name: str) -> PolicyBefore | None:
    """Return a policy, or None where there is none."""
    relation(schema, table)
    policy_name(name)
    found = await _one(ctx, "policy_before", schema=schema, table=table, name=name)
    if found is None:
        return None
    return PolicyBefore(
        found["command"],
        found["permissive"],
        Sql(found["roles"]),
        _sql(found["using"]),
        _sql(found["check"]),
    )


async def expect(ctx: Context, kind: Kind, schema: str, name: str) -> None:
    """Refuse a name that is something else: Postgres renames a view by the words for an index.

    Raises:
        InvalidArgument: the schema has no index, or enum, of this name.
        UnknownTable: the schema has no table of this name.
    """
    relation(schema, name)
    found = await _one(ctx, "kinds_of_name", schema=schema, name=name)
    if found is not None and found[kind]:
        return
    if kind == "table":
        raise UnknownTable("table: no such table")
    raise InvalidArgument(f"name: no such {kind}")


async def _one(ctx: Context, query: str, **arguments: str) -> Record | None:
    async with ctx.database.administer() as run:
        await run("forget_search_path")
        rows = await run(query, **arguments)
    return rows[0] if rows else None


def _sql(written: str | None) -> Sql | None:
    return None if written is None else Sql(written)
