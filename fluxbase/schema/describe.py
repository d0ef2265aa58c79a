"""What a caller is told of a table: only what that caller may use; it must not query rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set

    from fluxbase.db.relation import Column, Policy, Visible
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One table in a list."""

    schema: str
    name: str
    kind: str
    comment: str | None
    columns: list[str]
    privileges: list[str]


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column: `default` is an SQL expression, `values` those of an enum.

    An insert must set it when `required`: it takes no null, and nothing fills it in.
    """

    name: str
    type: str
    nullable: bool
    default: str | None
    generated: bool
    required: bool
    comment: str | None
    values: list[str]
    privileges: list[str]


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key to a table that the caller may see too."""

    columns: list[str]
    references: str
    foreign_columns: list[str]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """One index."""

    name: str
    columns: list[str]
    unique: bool
    method: str


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A row-level security policy that applies to the caller.

    Expressions are SQL; one that names a column or table hidden from the caller is left out.
    """

    name: str
    command: str
    permissive: bool
    using: str | None
    check: str | None


@dataclass(frozen=True, slots=True)
class TableInfo:
    """Everything a caller may know of one table."""

    schema: str
    name: str
    kind: str
    comment: str | None
    columns: list[ColumnInfo]
    primary_key: list[str]
    unique: list[list[str]]
    foreign_keys: list[Reference]
    indexes: list[IndexInfo]
    privileges: list[str]
    row_level_security: bool
    policies: list[PolicyInfo]


def entry(table: Visible) -> TableEntry:
    """Return a table's line in a list."""
    relation = table.relation
    return TableEntry(
        relation.schema,
        relation.name,
        relation.kind,
        relation.comment,
        _known(table),
        table.grant.names,
    )


async def table_info(ctx: Context, table: Visible) -> TableInfo:
    """Return the description of a table for the caller."""
    relation, known = table.relation, set(_known(table))
    roles = await ctx.catalog.roles_of(ctx.who)
    hidden = {*(relation.columns.keys() - known), *await ctx.catalog.hidden_names(ctx.who)}
    return TableInfo(
        schema=relation.schema,
        name=relation.name,
        kind=relation.kind,
        comment=relation.comment,
        columns=[_column(c, table) for name, c in relation.columns.items() if name in known],
        primary_key=list(relation.primary_key) if known.issuperset(relation.primary_key) else [],
        unique=[list(u) for u in relation.uniques if known.issuperset(u)],
        foreign_keys=await _references(ctx, table, known),
        indexes=[
            IndexInfo(i.name, list(i.columns), i.unique, i.method)
            for i in relation.indexes
            if known.issuperset(i.columns)
        ],
        privileges=table.grant.names,
        row_level_security=relation.rls,
        policies=[
            _policy(p, hidden) for p in relation.policies if not p.roles or roles & set(p.roles)
        ],
    )


async def _references(ctx: Context, table: Visible, known: set[str]) -> list[Reference]:
    found: list[Reference] = []
    for key in table.relation.foreign_keys:
        target = await ctx.catalog.by_oid(ctx.who, key.foreign)
        if target is None or not known.issuperset(key.columns):
            continue
        if set(_known(target)).issuperset(key.foreign_columns):
            full_name = target.relation.full_name
            found.append(Reference(list(key.columns), full_name, list(key.foreign_columns)))
    return found


def _known(table: Visible) -> list[str]:
    return [name for name in table.relation.columns if name in table.grant.columns]


def _column(column: Column, table: Visible) -> ColumnInfo:
    grant, hidden = table.grant, table.relation.columns.keys() - set(_known(table))
    held = (("select", grant.select), ("insert", grant.insert), ("update", grant.update))
    return ColumnInfo(
        column.name,
        column.type,
        column.nullable,
        None if _names(column.default, hidden) else column.default,
        column.generated,
        not (column.nullable or column.default or column.generated or column.identity),
        column.comment,
        list(column.values),
        [name for name, columns in held if column.name in columns],
    )


def _names(expression: str | None, hidden: Set[str]) -> bool:
    """Return whether an expression names what is hidden from the caller: a column or a table."""
    return expression is not None and not hidden.isdisjoint(re.findall(r"\w+", expression))


def _policy(policy: Policy, hidden: Set[str]) -> PolicyInfo:
    using, check = policy.using, policy.check
    return PolicyInfo(
        policy.name,
        policy.command,
        policy.permissive,
        None if _names(using, hidden) else using,
        None if _names(check, hidden) else check,
    )
