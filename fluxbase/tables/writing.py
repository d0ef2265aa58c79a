"""Writes rows: what a call asks becomes one statement in a transaction, and an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from fluxbase.db.session import Trace
from fluxbase.errors import (
    Conflict,
    FluxbaseError,
    Forbidden,
    InvalidArgument,
    TooManyAffected,
    UnknownColumn,
)
from fluxbase.grammar import query
from fluxbase.grammar.conditions import Operand
from fluxbase.grammar.filters import Conditions
from fluxbase.grammar.scan import Scanner
from fluxbase.grammar.tree import Field
from fluxbase.grammar.words import nearest, shown, wrong
from fluxbase.tables import diagnose, plan, undo, writes
from fluxbase.tables.fitness import check_operator
from fluxbase.tables.operands import Binder
from fluxbase.tables.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluxbase.db.relation import Visible
    from fluxbase.db.sight import Sight
    from fluxbase.db.types import Record
    from fluxbase.tables.undo import OnConflict
    from fluxbase.tables.writes import Statement
    from fluxbase.toolkit import Context


_SHOWN = 63


class Result(NamedTuple):
    """What a write did."""

    rows: int
    records: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How a write is done, whatever it writes."""

    returning: str = "*"
    dry_run: bool = False
    idempotency_key: str | None = None
    overwrites: bool = False


class _Target(NamedTuple):
    """Rows that a filter finds."""

    table: Visible
    found: writes.Found
    operands: list[Operand]


async def insert(
    ctx: Context,
    table: str,
    rows: Sequence[Mapping[str, Any]],
    on_conflict: str | None,
    action: OnConflict | None,
    manner: Manner,
) -> Result:
    """Insert rows, all or none.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused; nothing was changed.
    """
    sight, target = await _find(ctx, table)
    if len(rows) > ctx.max_rows:
        raise InvalidArgument(f"data: at most {ctx.max_rows} rows in one call")
    groups = writes.grouped(target, rows, _writable(target.grant.insert), "data")
    conflict = _conflict(target, on_conflict, action)
    overwrites = conflict is not None and conflict.action == "update"
    manner = replace(manner, overwrites=overwrites)
    back = _back(ctx, sight, target, manner.returning)
    found = _Target(target, writes.Found(plan.Level(target, (), plan.ALWAYS), {}), [])

    def keyed(version: int) -> Statement:
        return writes.insert(target, groups, conflict, back, version)

    def bare(version: int) -> Statement:
        return writes.insert(target, groups, conflict, back, version, keyed=False)

    call = _Call(ctx, found, rows, manner, None)
    try:
        return await _run(call, keyed, back)
    except Forbidden:
        # Maybe only because the keys of the new rows are read, to be kept: who asks for nothing
        # back must still be able to insert what only others may see.
        if back.level is not None or not back.undo_bytes:
            raise
    return await _run(call, bare, back)


async def update(
    ctx: Context,
    table: str,
    data: Mapping[str, Any],
    filters: Mapping[str, Any],
    if_match: Mapping[str, Any] | None,
    max_affected: int,
    manner: Manner,
) -> Result:
    """Set columns of the rows that meet a filter, all or none.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused; nothing was changed.
    """
    sight, target = await _find(ctx, table)
    rows = _matched(ctx, sight, target, filters, if_match)
    if not data:
        raise InvalidArgument("data: at least one column is needed")
    group = writes.grouped(target, [data], _writable(target.grant.update), "data")[0]
    back = _back(ctx, sight, target, manner.returning)

    def build(version: int) -> Statement:
        return writes.update(target, data, group.columns, rows.found, back, version)

    return await _run(_Call(ctx, rows, [data], manner, max_affected), build, back)


async def delete(
    ctx: Context,
    table: str,
    filters: Mapping[str, Any],
    if_match: Mapping[str, Any] | None,
    max_affected: int,
    manner: Manner,
) -> Result:
    """Delete the rows that meet a filter, all or none.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused; nothing was changed.
    """
    sight, target = await _find(ctx, table)
    rows = _matched(ctx, sight, target, filters, if_match)
    if not target.grant.delete:
        raise Forbidden("the database does not allow this caller to delete from the table")
    back = _back(ctx, sight, target, manner.returning)

    def build(_version: int) -> Statement:
        return writes.delete(target, rows.found, back)

    alone = not sight.takes_along(target)
    return await _run(_Call(ctx, rows, [], manner, max_affected, alone), build, back)


class _Call(NamedTuple):
    """What is done to which rows, with which data, and how."""

    ctx: Context
    target: _Target
    data: Sequence[Mapping[str, Any]]
    manner: Manner
    max_affected: int | None
    alone: bool = True  # no row of another table changes with it


async def _run(call: _Call, build: Callable[[int], Statement], back: undo.Written) -> Result:
    try:
        return await _write(call, build, back)
    except FluxbaseError as error:
        told = await _explained(call, error)
        if told is error:
            raise
        raise told from error


async def _explained(call: _Call, error: FluxbaseError) -> FluxbaseError:
    """Return the error that names the value at fault, when one is found."""
    table, found, operands = call.target
    told = await diagnose.explain(call.ctx, found.binders, operands, error)
    if told is error and call.data:
        told = await diagnose.explain_rows(call.ctx, table, call.data, error)
    return told


async def _write(call: _Call, build: Callable[[int], Statement], back: undo.Written) -> Result:
    ctx, manner = call.ctx, call.manner
    table, _, operands = call.target
    key = manner.idempotency_key
    async with ctx.write(table, dry_run=manner.dry_run, key=key) as session:
        if session.replay is not None:
            return _again(ctx, session.replay, back)
        statement = build(session.version)
        before = None
        if statement.first is not None:
            before = (await session.fetchrow(statement.first.bind(operands, {})))[1]
        row = await session.fetchrow(statement.planned.bind(operands, {}))
        _check(row, call.max_affected)
        result = Result(row[1], row[2], back.level is not None and row[3] < row[1])
        trace = Trace(result.rows)
        if back.undo_bytes:
            trace.before = before if statement.first is not None else row[4]
            trace.inserted = row[5]
            trace.complete = _is_complete(call, statement, trace, row[7])
        if key is not None:
            trace.answer = orjson.dumps((*result, _names(back))).decode()
        session.trace = trace
    ctx.rows = None if manner.dry_run else result.rows
    return result


def _is_complete(call: _Call, statement: Statement, trace: Trace, overwritten: int | None) -> bool:
    """Return whether a write could be taken back whole by what is kept of it."""
    if call.data and call.max_affected is None:  # an insert
        if trace.inserted is None or (call.manner.overwrites and overwritten is None):
            return False
        if not overwritten:
            return True
    table = call.target.table
    seen = len(table.readable) == len(table.relation.columns)
    # Through a view no column is seen that it does not show.
    stored = table.relation.kind in ("table", "partitioned_table")
    if not (statement.before and seen and stored and call.alone) or trace.before is None:
        return False
    if overwritten is None and statement.first is None:
        return True
    # What was kept and what was written were two looks at the table: did both see the same rows?
    kept = len(orjson.loads(trace.before))
    return kept == (trace.rows if overwritten is None else overwritten)


def _check(row: Record, max_affected: int | None) -> None:
    if row[6] is not None and row[6] != row[1]:
        raise Conflict(
            f"if_match: {row[6] - row[1]} of {row[6]} rows are not as expected; "
            "nothing was changed",
            hint="read the rows again, then decide",
        )
    if max_affected is not None and row[1] > max_affected:
        raise TooManyAffected(
            f"{row[1]} rows match, more than max_affected ({max_affected}); nothing was changed",
            hint="narrow the filter, or raise max_affected",
        )


def _names(back: undo.Written) -> list[str]:
    return list(back.level.names()) if back.level is not None else []


def _again(ctx: Context, answer: str, back: undo.Written) -> Result:
    """Return the answer of the first call with the same key, as far as it may still be read."""
    rows, records, truncated, names = orjson.loads(answer)
    ctx.rows = 0
    if names != _names(back):
        return Result(rows, "[]", truncated=True)
    return Result(rows, records, truncated)


async def _find(ctx: Context, table: str) -> tuple[Sight, Visible]:
    sight = await ctx.catalog.sight(ctx.who)
    target = sight.find(table)
    ctx.target = target.relation.full_name
    return sight, target


def _matched(
    ctx: Context,
    sight: Sight,
    table: Visible,
    filters: Mapping[str, Any],
    if_match: Mapping[str, Any] | None,
) -> _Target:
    if not filters:
        raise InvalidArgument(
            "filter: an empty filter would touch every row",
            hint="name the rows, for example by their id",
        )
    conditions = Conditions()
    conditions.read(filters, table.grant.select)
    if any(conditions.found):
        raise wrong("filter", "a write is about one table alone", "first read which rows to change")
    resolver = Resolver(sight, ctx.config.max_embed_depth)
    parts = [resolver.condition(table, part, {}) for part in conditions.of(()).parts]
    everywhere = plan.Level(table, (), plan.Group("and", tuple(parts)))
    checks = [
        _expected(resolver, table, name, value, conditions.operands)
        for name, value in (if_match or {}).items()
    ]
    level = replace(everywhere, where=plan.Group("and", (*parts, *checks)))
    found = writes.Found(level, resolver.binders, everywhere if checks else None)
    return _Target(table, found, conditions.operands)


def _expected(
    resolver: Resolver, table: Visible, name: str, value: object, operands: list[Operand]
) -> plan.Condition:
    """Return the condition that a column still has the value that the caller has seen."""
    where = f"if_match.{name}" if len(name) <= _SHOWN and name.isprintable() else "if_match"
    field = Field(name)
    if name not in table.grant.select:
        scanner = Scanner(name, where)
        field = scanner.field()
        if not scanner.at_end:
            raise scanner.wrong("a column of the table is needed")
    column = resolver.value(table, field, where)
    if isinstance(value, dict | list) and not (
        column.type.is_array or column.type.base in ("json", "jsonb")
    ):
        raise wrong(where, "the value that the column had is needed")
    if value is None:
        return plan.Is(column, "null")
    check_operator(column.type, "eq", None, where)
    slot = len(operands)
    operands.append(Operand(value, where, is_json=True))
    resolver.binders[slot] = Binder(column.type, "eq")
    return plan.Test(column, "eq", slot, None, None)


def _conflict(
    table: Visible, on_conflict: str | None, action: OnConflict | None
) -> undo.Conflict | None:
    if on_conflict is None:
        if action == "update":
            raise InvalidArgument(
                "on_conflict: which unique columns decide is missing",
                hint="such as on_conflict: 'email', with the columns of a unique constraint",
            )
        return undo.Conflict((), "ignore") if action else None
    columns = _of_index(table, on_conflict) or _named(table, on_conflict)
    return undo.Conflict(columns, action or "update")


def _of_index(table: Visible, name: str) -> tuple[str, ...] | None:
    """Return the columns of the unique index of a name, when there is one that may be read."""
    for index in table.relation.indexes:
        if index.name == name and index.unique:
            columns = tuple(_unquoted(text) for text in index.columns)
            if table.grant.select.issuperset(columns):
                return columns
            if not table.relation.columns.keys() >= set(columns):
                raise InvalidArgument("on_conflict: an index on an expression cannot decide")
    return None


def _named(table: Visible, text: str) -> tuple[str, ...]:
    names = [_unquoted(part.strip()) for part in text.split(",")]
    for name in names:
        if name not in table.grant.select:
            near = nearest(name, table.readable)
            raise UnknownColumn(f"on_conflict: no such column {shown(name)}{near}")
    return tuple(dict.fromkeys(names))


def _unquoted(name: str) -> str:
    quoted = len(name) > 2 and name[0] == name[-1] == '"'
    return name[1:-1].replace('""', '"') if quoted else name


def _back(ctx: Context, sight: Sight, table: Visible, returning: str) -> undo.Written:
    # Who may write but not read still can write: then there is nothing that `*` could return.
    nothing = not returning.strip() or (returning.strip() == "*" and not table.readable)
    level = None
    if not nothing:
        asked = query.read(returning, where="returning")
        resolver = Resolver(sight, ctx.config.max_embed_depth)
        level = resolver.level(table, asked.tree, "returning")
        if level.grouped:
            raise wrong("returning", "written rows are not aggregated", "return them, or query")
        if not level.names():
            raise wrong("returning", "no column is returned", "write 'id', '*' or '' for none")
    config = ctx.config
    return undo.Written(level, ctx.max_rows, config.max_bytes, config.undo_max_bytes)


def _writable(columns: frozenset[str]) -> frozenset[str]:
    if not columns:
        raise Forbidden("the database does not allow this caller to write to the table this way")
    return columns
