"""Finds which value Postgres could not read; runs only after a failure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from fluxbase.db.sql import Params, Statement, concat, join, sql
from fluxbase.errors import FluxbaseError, InvalidData
from fluxbase.strict_json import dumps
from fluxbase.tables.plan import All, Among, Compare, Condition, Not

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fluxbase.db.relation import Column, Visible
    from fluxbase.toolkit import Context

_MOST = 100
_MOST_DATA = 10_000


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
            params.add(column.cast),
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


async def explain_rows(
    ctx: Context, table: Visible, rows: Sequence[Mapping[str, Any]], error: InvalidData
) -> InvalidData:
    """Return an error that names the row and column whose value is not of its type, if found."""
    leaves = list(islice(_leaves(table, rows), _MOST_DATA))
    flaws = {n for n, leaf in enumerate(leaves) if leaf.text is None or "\x00" in leaf.text}
    asked = [(n, leaf) for n, leaf in enumerate(leaves) if n not in flaws]
    params = Params()
    text = concat(
        sql(
            "SELECT current_user::text, array_agg(pg_input_is_valid(v, t) ORDER BY n) FROM unnest("
        ),
        params.add([leaf.text for _, leaf in asked]),
        sql("::text[], "),
        params.add([leaf.type for _, leaf in asked]),
        sql("::text[]) WITH ORDINALITY AS leaf(v, t, n)"),
    )
    with suppress(FluxbaseError):  # before Postgres 16 there is no such function
        row = await ctx.read(Statement(text, tuple(params.values)))
        good: list[bool] = row[1] or []
        flaws |= {n for (n, _), valid in zip(asked, good, strict=True) if not valid}
    if not flaws:
        return error
    wrong = leaves[min(flaws)]
    where = f"data[{wrong.row}]" if len(rows) > 1 else "data"
    return InvalidData(
        f"{where}.{wrong.column.name}: the value is not a valid {wrong.column.type}",
        hint="describe_table shows the types of the columns",
    )


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One value to check: its text, or `None` when no text of it would do."""

    row: int
    column: Column
    type: str
    text: str | None


def _leaves(table: Visible, rows: Sequence[Mapping[str, Any]]) -> Iterator[_Leaf]:
    for place, row in enumerate(rows):
        for name, value in row.items():
            column = table.relation.columns[name]
            if column.base in ("json", "jsonb"):
                yield _Leaf(place, column, column.base, dumps(value).decode())
            elif column.is_array:
                yield from _elements(place, column, value)
            elif value is not None and column.category != "C":
                yield _Leaf(place, column, column.type, _text(value))


def _elements(place: int, column: Column, value: object) -> Iterator[_Leaf]:
    if isinstance(value, list):
        for item in cast("list[object]", value):
            if isinstance(item, list):
                yield from _elements(place, column, cast("object", item))
            elif item is not None:
                yield _Leaf(place, column, column.base.removesuffix("[]"), _text(item))
    elif value is not None:
        yield _Leaf(place, column, column.type, None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


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
