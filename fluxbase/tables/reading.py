"""Reads rows: a call becomes a tree, a plan, one statement, and an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from fluxbase.errors import FluxbaseError, Forbidden, InvalidArgument, TooLarge
from fluxbase.grammar import query
from fluxbase.grammar.conditions import Operand
from fluxbase.grammar.tree import NOTHING
from fluxbase.grammar.words import wrong
from fluxbase.tables import build, cursor, diagnose, plan
from fluxbase.tables.operands import Binder
from fluxbase.tables.resolve import Resolver
from fluxbase.tables.slots import LIMIT, MAX_BYTES, MOST, OFFSET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.relation import Visible
    from fluxbase.db.sight import Sight
    from fluxbase.grammar.query import Asked, Settings
    from fluxbase.tables.slots import Planned
    from fluxbase.toolkit import Context

_LONGEST: Final = 8_192  # characters
_LONGEST_WORDS: Final = 1_024
_MOST_WORDS: Final = 24
# What stands before the value, and means the same whatever the value.
_PLAIN: Final = frozenset({"eq", "neq", "gt", "gte", "lt", "lte"})

Output = Literal["json", "columns", "csv"]


# What Postgres gave: rows as text, how many, how many it saw, their count, a cursor.
_Rows: TypeAlias = tuple[str, int, int, int | None, str | None]


class Wanted(NamedTuple):
    """A call of `query_table`, its arguments as they were given."""

    table: str
    select: str = "*"
    filter: Mapping[str, Any] | None = None
    order: str | None = None
    limit: int = 100
    offset: int = 0
    after: str | None = None
    total: plan.Count | None = None
    embed: Mapping[str, Settings] | None = None
    output: Output = "json"
    max_bytes: int | None = None


class Found(NamedTuple):
    """A page as Postgres gave it."""

    text: str
    kept: int
    truncated: bool
    total: int | None
    columns: tuple[str, ...]
    next_after: str | None
    cut: bool  # by bytes, rather than by the limit that was asked for


class _Shape(NamedTuple):
    """A planned page: its statement, and what its answer needs to be understood."""

    target: str
    planned: Planned
    read: plan.Read
    columns: tuple[str, ...]
    order: tuple[plan.Sort, ...]
    careful: bool  # the rows are CSV, which cannot be told apart by a separator


async def page(ctx: Context, wanted: Wanted) -> Found:
    """Return a page of rows that the caller may see.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused; see `query_table`.
    """
    sight = await ctx.catalog.sight(ctx.who)
    # A key's own maximum may lie below the default limit; `truncated` then tells the caller.
    limit = min(wanted.limit, ctx.max_rows)
    shape, operands = _planned(ctx, sight, wanted, limit if limit in build.USUAL else None)
    ctx.target = shape.target
    _check_limit(ctx, wanted.limit)
    most_bytes = ctx.config.max_bytes
    if wanted.max_bytes is not None:
        most_bytes = min(wanted.max_bytes, most_bytes)
    specials = {LIMIT: limit + 1, OFFSET: wanted.offset, MOST: limit, MAX_BYTES: most_bytes}
    try:
        rows = await _rows(ctx, shape, operands, specials)
    except FluxbaseError as error:
        told = await diagnose.explain(ctx, shape.planned.binders, operands, error)
        raise told from error.__cause__
    return await _found(ctx, wanted, shape, operands, rows, most_bytes)


async def _rows(
    ctx: Context, shape: _Shape, operands: list[Operand], specials: Mapping[int, int]
) -> _Rows:
    planned = shape.planned
    if not shape.careful:
        _, text, seen, total, keys = await ctx.read(planned.bind(operands, specials))
        if text is not None or not seen:
            limit = specials[MOST]
            text = text or ""
            if seen > limit:
                text = text[: text.rindex(build.SEPARATOR)]
            text = text.replace(build.SEPARATOR, ",")
            return f"[{text}]", min(seen, limit), seen, total, keys
        planned = build.careful(shape.read, planned.binders)
    _, text, kept, seen, total, keys = await ctx.read(planned.bind(operands, specials))
    return text if shape.careful else f"[{text}]", kept, seen, total, keys


async def count(ctx: Context, table: str, filters: Mapping[str, Any] | None) -> int:
    """Return how many rows that meet a filter the caller may see.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused.
    """
    sight = await ctx.catalog.sight(ctx.who)
    target = sight.find(table)
    ctx.target = target.relation.full_name
    if not target.readable:
        raise Forbidden("this caller may not read any column of the table")
    asked = query.read("*", filters, known=target.grant.select)
    resolver = Resolver(sight, ctx.config.max_embed_depth)
    level = resolver.level(target, asked.tree)
    planned = build.count(level, resolver.binders)
    try:
        row = await ctx.read(planned.bind(asked.operands, {}))
    except FluxbaseError as error:
        told = await diagnose.explain(ctx, resolver.binders, asked.operands, error)
        raise told from error.__cause__
    return row[1]


def csv(names: tuple[str, ...], lines: str) -> str:
    """Return rows as RFC 4180 has them, the names first."""
    quoted = [
        '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\r\n') else name
        for name in names
    ]
    head = ",".join(quoted)
    return f"{head}\n{lines}" if lines else head


def _planned(
    ctx: Context, sight: Sight, wanted: Wanted, limit: int | None
) -> tuple[_Shape, list[Operand]]:
    """Return the planned page of a call, and its operands; a limit becomes part of its shape.

    A call whose words were said before, but for the values, is not even read again.
    """
    words = _words(wanted, limit)
    if words is not None:
        known: _Shape | None = sight.recall(words)
        if known is not None:
            return known, [
                Operand(value[value.index(".") + 1 :], f"filter.{name}")
                for name, value in (wanted.filter or {}).items()
            ]
    table = sight.find(wanted.table)
    ctx.target = table.relation.full_name
    asked = query.read(
        wanted.select,
        wanted.filter,
        wanted.order,
        wanted.embed,
        known=table.grant.select,
    )
    shape, operands = _shape(ctx, sight, table, asked, wanted, limit)
    if words is not None and _is_short(wanted, shape):
        sight.keep(words, shape)
    return shape, operands


def _is_short(wanted: Wanted, shape: _Shape) -> bool:
    said = len(wanted.select) + len(wanted.order or "")
    return said <= _LONGEST and len(shape.planned.text) <= _LONGEST


def _words(wanted: Wanted, limit: int | None) -> tuple[object, ...] | None:
    """Return all of a call but its values; nothing when that cannot be told at a glance."""
    table, select, filters, order, _, offset, after, total, embed, output, _ = wanted
    if embed or after:
        return None
    words: list[object] = [table, select, order, limit, after, total, output, offset > 0]
    length = len(table) + len(select) + len(order or "")
    for name, value in (filters or {}).items():
        if type(value) is not str or len(words) > _MOST_WORDS:
            return None
        head, dot, _ = value.partition(".")
        if head not in _PLAIN or not dot:
            return None
        words += (name, head)
        length += len(name)
    return tuple(words) if length <= _LONGEST_WORDS else None


def _shape(
    ctx: Context,
    sight: Sight,
    table: Visible,
    asked: Asked,
    wanted: Wanted,
    limit: int | None,
) -> tuple[_Shape, list[Operand]]:
    """Return the planned page, from memory when its shape was asked for before."""
    operands = asked.operands
    after: list[str | None] | None = None
    nulls: tuple[bool, ...] = ()
    keyset = wanted.after is not None
    key: Any = None
    if wanted.after:
        # The place is part of the shape: where a value is null, other SQL is needed.
        order = _keyset(Resolver(sight, 0), table, asked)
        after = cursor.read(wanted.after, cursor.mark(table.relation.full_name, order), len(order))
        nulls = tuple(value is None for value in after)
        operands = [*operands, *(Operand(v, cursor.ARGUMENT) for v in after)]
    key = (
        table.relation.oid, asked.tree, wanted.total, wanted.output, wanted.offset > 0,
        keyset, nulls, ctx.config.max_embed_depth, len(asked.operands), limit,
    )  # fmt: skip
    shape: _Shape | None = sight.recall(key)
    if shape is None:
        shape = _plan(ctx, sight, table, asked, wanted, nulls, limit)
        if _is_short(wanted, shape):  # longer ones are rare and would fill the memory
            sight.keep(key, shape)
    return shape, operands


def _plan(
    ctx: Context,
    sight: Sight,
    table: Visible,
    asked: Asked,
    wanted: Wanted,
    nulls: tuple[bool, ...],
    limit: int | None,
) -> _Shape:
    resolver = Resolver(sight, ctx.config.max_embed_depth)
    level = resolver.level(table, asked.tree)
    if not level.names():
        raise wrong("select", "no column is selected", "write 'id,email' or '*'")
    order = level.order
    keyset = wanted.after is not None
    if (order and not level.grouped) or keyset:
        order = _tied(level, keyset=keyset)
        level = replace(level, order=order)
    counted = level
    if nulls:
        slots = tuple(
            None if null else len(asked.operands) + place for place, null in enumerate(nulls)
        )
        for sort, slot in zip(order, slots, strict=True):
            if slot is not None and sort.value is not None:
                resolver.binders[slot] = Binder(sort.value.type, "eq")
        where = plan.Group("and", (level.where, plan.After(order, slots)))
        level = replace(level, where=where)
    if wanted.offset:
        level = replace(level, offset=OFFSET)
    asked_count = None if wanted.total == "planned" else wanted.total
    simple = keyset or _can_go_on(level)
    keyed = bool(order) and simple
    read = plan.Read(level, counted, asked_count, wanted.output, keyed, limit)
    careful = wanted.output == "csv"
    planned = (build.careful if careful else build.read)(read, resolver.binders)
    return _Shape(
        table.relation.full_name, planned, read, level.names(), order if keyed else (), careful
    )


def _keyset(resolver: Resolver, table: Visible, asked: Asked) -> tuple[plan.Sort, ...]:
    bare = replace(asked.tree, items=(), where=NOTHING)
    level = resolver.level(table, bare)
    return _tied(level, keyset=True)


def _can_go_on(level: plan.Level) -> bool:
    """Return whether the place of a row can be told by its own values alone."""
    return not level.grouped and all(s.value and not s.related for s in level.order)


def _tied(level: plan.Level, *, keyset: bool) -> tuple[plan.Sort, ...]:
    """Return the sorting with the table's key at its end, so that no two rows stand equal.

    Raises:
        InvalidFilter: `after` is asked for and the rows have no such order.
    """
    if keyset and level.grouped:
        raise wrong(cursor.ARGUMENT, "an aggregated answer has no cursor", "read on with offset")
    if keyset and any(sort.related for sort in level.order):
        raise wrong(cursor.ARGUMENT, "rows sorted by a related table have no cursor", "use offset")
    table = level.table
    key = next(
        (
            columns
            for columns in (table.relation.primary_key, *_unique(table))
            if columns and not table.relation.has_heirs and table.grant.select.issuperset(columns)
        ),
        None,
    )
    if key is None:
        if keyset:
            hint = "read on with offset"
            raise wrong(
                cursor.ARGUMENT, "the table has no key by which rows could be told apart", hint
            )
        return level.order
    sorted_ = {s.value.column.name for s in level.order if s.value and not s.value.path}
    columns = [table.relation.columns[name] for name in key if name not in sorted_]
    ties = [
        plan.Sort(plan.Value(column, (), column), descending=False, nulls=None)
        for column in columns
    ]
    return (*level.order, *ties)


def _unique(table: Visible) -> tuple[tuple[str, ...], ...]:
    columns = table.relation.columns
    return tuple(
        unique
        for unique in table.relation.uniques
        if not any(columns[name].nullable for name in unique)
    )


async def _found(
    ctx: Context,
    wanted: Wanted,
    shape: _Shape,
    operands: list[Operand],
    rows: _Rows,
    most_bytes: int,
) -> Found:
    text, kept, seen, total, keys = rows
    if not kept and seen:
        raise TooLarge(
            f"the row at offset {wanted.offset} alone is larger than {most_bytes} bytes",
            hint="select fewer columns, or limit the embedded rows",
        )
    ctx.rows = kept
    if wanted.total == "planned" or (
        wanted.total == "estimated" and (total or 0) > build.ESTIMATED
    ):
        total = await _expected(ctx, wanted, shape, operands)
    next_after = None
    if seen > kept and keys is not None:
        next_after = cursor.write(cursor.mark(ctx.target or "", shape.order), keys)
    cut = seen > kept and kept < wanted.limit
    return Found(text, kept, seen > kept, total, shape.columns, next_after, cut)


async def _expected(ctx: Context, wanted: Wanted, shape: _Shape, operands: list[Operand]) -> int:
    """Return how many rows Postgres expects, or how many there are when that would tell too much.

    Statistics are of all rows of a table. Whoever sees only some of them could learn of the others.
    """
    level = shape.read.counted
    if ctx.who.is_service or ctx.config.planned_counts == "all":
        planned = build.explain(level, shape.planned.binders)
        return await ctx.explain(planned.bind(operands, {}))
    if wanted.total == "planned":
        raise Forbidden(
            "planned counts are for service keys: they are made of statistics of all rows",
            hint="use count 'exact' or 'estimated', or set database.planned_counts to 'all'",
        )
    counted = build.count(level, shape.planned.binders)
    return (await ctx.read(counted.bind(operands, {})))[1]


def _check_limit(ctx: Context, limit: int) -> None:
    if limit > ctx.config.max_rows:
        raise InvalidArgument(
            f"limit: at most {ctx.config.max_rows} rows in one answer",
            hint="read on with offset or after",
        )
