"""Makes the statement of a page; the rules of `fluxbase.tables.expressions` hold.

Every statement returns one row whose first column is `current_user`, which the session compares
with the caller's role, and carries the rows as text made inside Postgres.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbase.db.sql import Sql, concat, ident, join, number, sql
from fluxbase.tables.rows import Writer, hidden_name
from fluxbase.tables.slots import LIMIT, MAX_BYTES, MOST, Planned, Slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.tables.operands import Binder
    from fluxbase.tables.plan import Level, Read

_MOST_ARGUMENTS: Final = 100  # of one function call in Postgres
ESTIMATED: Final = 10_000  # rows that an estimate still counts
# Limits that are written into a statement. Postgres does not know how many rows a parameter asks
# for, so it plans anew for each call; but every limit written out is a statement of its own.
USUAL: Final = frozenset({1, 2, 3, 5, 10, 15, 20, 25, 30, 50, 100, 200, 250, 500, 1000})
# JSON text never holds it as it is, so what stands between rows can be told from what is in them.
SEPARATOR: Final = "\x1e"


def read(plan: Read, binders: Mapping[int, Binder]) -> Planned:
    """Return the statement of a page: (role, rows, rows seen, total, last sort values).

    The rows are JSON texts with `SEPARATOR` between them, or null when they have more bytes than
    an answer may have: then `careful` tells which of them fit. One row more than asked is looked
    at, which tells whether there are more.
    """
    slots = _slots(plan)
    writer = Writer(slots)
    hidden = plan.level.order if plan.keyset else ()
    page = writer.rows(replace(plan.level, limit=LIMIT), None, hidden)
    keys = sql("NULL::text")
    if hidden:
        keys = concat(
            sql("(array_agg("), _keys(len(hidden)), sql("))["), slots.use(MOST), sql("::int8]")
        )
    text = concat(
        sql("SELECT current_user::text, CASE WHEN octet_length(j) <= "),
        slots.use(MAX_BYTES),
        sql("::int8 THEN j END, seen, "),
        _total(plan, writer),
        sql(", k FROM (SELECT string_agg("),
        _line(plan, bool(hidden)),
        sql(", E'\\x1e') AS j, count(*) AS seen, "),
        keys,
        sql(" AS k FROM ("),
        page,
        sql(") r) s"),
    )
    return slots.planned(text, binders)


def careful(plan: Read, binders: Mapping[int, Binder]) -> Planned:
    """Return the statement of a page: (role, rows, rows in it, rows seen, total, sort values).

    The rows stand with commas (lines of CSV: newlines) between them. Those past the byte limit
    are left out inside Postgres, before they are sent, which costs half as much again as `read`.
    """
    slots = _slots(plan)
    writer = Writer(slots)
    hidden = plan.level.order if plan.keyset else ()
    page = writer.rows(replace(plan.level, limit=LIMIT), None, hidden)
    fits = concat(
        sql("n <= "),
        slots.use(MOST),
        sql("::int8 AND bytes <= "),
        slots.use(MAX_BYTES),
        sql("::int8"),
    )
    keys = sql("NULL::text")
    if hidden:
        keys = concat(sql("(array_agg(k ORDER BY n DESC) FILTER (WHERE "), fits, sql("))[1]"))
    text = concat(
        sql("SELECT current_user::text, coalesce(string_agg(j, "),
        sql(r"E'\n'") if plan.output == "csv" else sql("','"),
        sql(" ORDER BY n) FILTER (WHERE "),
        fits,
        sql("), ''), count(*) FILTER (WHERE "),
        fits,
        sql("), count(*), "),
        _total(plan, writer),
        sql(", "),
        keys,
        sql(" FROM (SELECT j, k, n, sum(octet_length(j) + 1) OVER (ORDER BY n) AS bytes FROM "),
        sql("(SELECT "),
        _line(plan, bool(hidden)),
        sql(" AS j, "),
        _keys(len(hidden)),
        sql(" AS k, row_number() OVER () AS n FROM ("),
        page,
        sql(") r) s) t"),
    )
    return slots.planned(text, binders)


def count(level: Level, binders: Mapping[int, Binder]) -> Planned:
    """Return the statement that counts the caller's rows: (role, count)."""
    slots = Slots()
    text = concat(sql("SELECT current_user::text, "), _count(level, Writer(slots)))
    return slots.planned(text, binders)


def explain(level: Level, binders: Mapping[int, Binder]) -> Planned:
    """Return the statement by which Postgres says how many rows it expects."""
    slots = Slots()
    text = concat(sql("EXPLAIN (FORMAT JSON) "), _all(level, Writer(slots)))
    return slots.planned(text, binders)


def _slots(plan: Read) -> Slots:
    slots = Slots()
    if plan.limit is not None:
        slots.spell(LIMIT, plan.limit + 1)
    return slots


def _line(plan: Read, hidden: bool) -> Sql:
    """Return the text of one row `r`, without the sort values that go with it."""
    names = plan.level.names()
    row = sql("r.*")
    if hidden:
        # The alias is one that no column has, since here it must mean the row.
        columns = join(", ", [concat(sql("r."), ident(name)) for name in names])
        whole = ident("\x01row")
        row = concat(sql("(SELECT "), whole, sql(" FROM (SELECT "), columns, sql(") AS "), whole)
        row = concat(row, sql(")"))
    if plan.output == "json":
        return concat(sql("row_to_json("), row, sql(")::text"))
    if plan.output == "columns":
        if len(names) <= _MOST_ARGUMENTS:
            columns = join(", ", [concat(sql("r."), ident(name)) for name in names])
            return concat(sql("json_build_array("), columns, sql(")::text"))
        each = concat(sql(" FROM json_each(row_to_json("), row, sql("))"))
        return concat(sql("(SELECT '[' || string_agg(value::text, ',') || ']'"), each, sql(")"))
    return concat(
        # An empty line would be no row at all to those who read it.
        sql("(SELECT string_agg(CASE WHEN value IS NULL THEN "),
        sql("'\"\"' " if len(names) == 1 else "'' "),
        sql("""WHEN value = '' OR value ~ '[",\r\n]' """),
        sql("""THEN '"' || replace(value, '"', '""') || '"' ELSE value END, ',')"""),
        sql(" FROM json_each_text(row_to_json("),
        row,
        sql(")))"),
    )


def _keys(many: int) -> Sql:
    if not many:
        return sql("NULL::text")
    names = join(", ", [concat(sql("r."), ident(hidden_name(n))) for n in range(many)])
    return concat(sql("json_build_array("), names, sql(")::text"))


def _total(plan: Read, writer: Writer) -> Sql:
    if plan.count == "exact":
        return concat(sql("(SELECT "), _count(plan.counted, writer), sql(")"))
    if plan.count == "estimated":
        rows = concat(_all(plan.counted, writer), sql(" LIMIT "), number(ESTIMATED + 1))
        return concat(sql("(SELECT count(*) FROM ("), rows, sql(") AS x)"))
    return sql("NULL::int8")


def _count(level: Level, writer: Writer) -> Sql:
    if level.grouped:
        return concat(sql("count(*) FROM ("), _all(level, writer), sql(") AS x"))
    return concat(sql("count(*)"), writer.source(level, writer.alias()))


def _all(level: Level, writer: Writer) -> Sql:
    """Return the query of all rows of a level, however many are asked for."""
    whole = replace(level, limit=None, offset=None, order=())
    if level.grouped:
        return writer.rows(whole)
    return concat(sql("SELECT 1"), writer.source(whole, writer.alias()))
