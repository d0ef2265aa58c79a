"""Finds which value of a filter Postgres could not read; runs only after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbase.db.sql import Params, Statement, concat, join, sql
from fluxbase.errors import FluxbaseError, InvalidData
from fluxbase.tables.plan import All, Among, Compare, Condition, Not

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbase.db.relation import Column
    from fluxbase.toolkit import Context

_MOST = 100


async def explain(ctx: Context, condition: Condition, error: InvalidData) -> InvalidData:
    """Return an error that names the column whose value is not of its type, when one is found.

    `pg_input_is_valid` (Postgres 16) tells without raising; older servers keep the plain error.
    """
    pairs = list(_values(condition))[:_MOST]
    if not pairs:
        return error
    params = Params()
    checks = [
        concat(
            sql("pg_input_is_valid("),
            params.add(value),
            sql("::text, "),
            params.add(column.type),
            sql("::text)"),
        )
        for column, value in pairs
    ]
    text = concat(sql("SELECT current_user::text, ARRAY["), join(", ", checks), sql("]"))
    try:
        row = await ctx.read(Statement(text, tuple(params.values)))
    except FluxbaseError:
        return error
    for (column, _), good in zip(pairs, row[1], strict=True):
        if not good:
            return InvalidData(
                f"filter.{column.name}: the value is not a valid {column.type}",
                hint="describe_table shows the types of the columns",
            )
    return error


def _values(node: Condition) -> Iterator[tuple[Column, str]]:
    match node:
        case Compare() if node.operator not in ("like", "ilike"):
            yield node.column, node.value
        case Among(column, values):
            for value in values:
                yield column, value
        case Not(inner):
            yield from _values(inner)
        case All(parts):
            for part in parts:
                yield from _values(part)
        case _:
            return
