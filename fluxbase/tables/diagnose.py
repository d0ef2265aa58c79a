"""Finds which value Postgres could not read; runs only after a failure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from fluxbase.db.errors import may_be_a_value
from fluxbase.db.sql import Params, Statement, catalog_type, concat, ident, join, sql
from fluxbase.errors import DeadlineExceeded, FluxbaseError, InvalidData
from fluxbase.grammar.operators import PATTERNS, TEXT_SEARCH
from fluxbase.strict_json import dumps
from fluxbase.tables import cursor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from fluxbase.db.relation import Column, Visible
    from fluxbase.grammar.conditions import Operand
    from fluxbase.tables.operands import Binder
    from fluxbase.toolkit import Context

_MOST: Final = 100


async def explain(
    ctx: Context,
    binders: Mapping[int, Binder],
    operands: Sequence[Operand],
    error: FluxbaseError,
) -> FluxbaseError:
    """Return an error that names the column whose operand is not of its type, when one is found."""
    read = list(islice(_operands(binders, operands), _MOST))

    async def reads(number: int) -> bool:
        params = Params()
        values = [
            concat(params.add(text), sql("::text::"), catalog_type(column.cast))
            for column, _, text in read[:number]
        ]
        row = join(", ", [sql("current_user::text"), *values])
        return await _works(ctx, Statement(concat(sql("SELECT "), row), tuple(params.values)))

    if not may_be_a_value(error):
        return error
    wrong = await _first(len(read), reads)
    return error if wrong is None else _invalid(read[wrong][1], read[wrong][0])


def _operands(
    binders: Mapping[int, Binder], operands: Sequence[Operand]
) -> Iterator[tuple[Column, str, str]]:
    """Yield each operand that is read as its column's type: the column, its place, its text."""
    for slot, binder in sorted(binders.items()):
        if binder.operator in PATTERNS | TEXT_SEARCH or binder.quantifier:
            continue
        bound = binder.bind(operands[slot])
        for text in cast("list[str]", bound) if isinstance(bound, list) else [bound]:
            if isinstance(text, str):
                yield binder.column, operands[slot].where, text


async def explain_rows(
    ctx: Context, table: Visible, rows: Sequence[Mapping[str, Any]], error: FluxbaseError
) -> FluxbaseError:
    """Return an error that names the row and column whose value is not of its type, if found."""
    if not may_be_a_value(error):
        return error
    columns = [table.relation.columns[name] for name in dict.fromkeys(n for r in rows for n in r)]

    async def reads_rows(number: int) -> bool:
        return await _works(ctx, _reading(rows[:number], columns))

    place = await _first(len(rows), reads_rows)
    if place is None:
        return error

    async def reads_columns(number: int) -> bool:
        return await _works(ctx, _reading([rows[place]], columns[:number]))

    wrong = await _first(len(columns), reads_columns)
    if wrong is None:
        return error
    where = f"data[{place}]" if len(rows) > 1 else "data"
    return _invalid(f"{where}.{columns[wrong].name}", columns[wrong])


def _reading(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Statement:
    """Return a statement that does nothing but read some columns of some rows."""
    if not columns:
        return Statement(sql("SELECT current_user::text"))
    params = Params()
    data = [{c.name: row[c.name] for c in columns if c.name in row} for row in rows]
    # Not `cast`: lengths, scales and the rules of domains are of the column.
    shape = [concat(ident(c.name), sql(" "), catalog_type(c.type)) for c in columns]
    text = concat(
        sql("SELECT current_user::text, count(*) FROM json_to_recordset("),
        params.add(dumps(data).decode()),
        sql("::text::json) AS input("),
        join(", ", shape),
        sql(")"),
    )
    return Statement(text, tuple(params.values))


async def _first(count: int, reads: Callable[[int], Awaitable[bool]]) -> int | None:
    """Return the first of `count` things that is not read, when any of them is the fault."""
    # With none of them it must work, or the fault is elsewhere.
    if await reads(count) or not await reads(0):
        return None
    good, bad = 0, count
    while bad - good > 1:
        middle = (good + bad) // 2
        if await reads(middle):
            good = middle
        else:
            bad = middle
    return bad - 1


async def _works(ctx: Context, statement: Statement) -> bool:
    try:
        await ctx.read(statement)
    except DeadlineExceeded:
        raise
    except FluxbaseError:
        return False
    return True


def _invalid(where: str, column: Column) -> FluxbaseError:
    if where == cursor.ARGUMENT:
        return cursor.refused()
    return InvalidData(
        f"{where}: the value is not a valid {column.type}",
        hint="describe_table shows the types of the columns",
    )
