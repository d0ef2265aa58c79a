"""Makes the SQL that keeps what a write would lose: rows before it, and keys of new rows.

Since version 18 Postgres gives the rows before (`RETURNING old.*`). Before it an update reads and
locks them in a statement of its own, and an upsert looks up what it is about to overwrite.

Source: https://www.postgresql.org/docs/current/dml-returning.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from fluxbase.db.sql import Sql, concat, ident, join, sql
from fluxbase.tables.expressions import names, table_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fluxbase.db.relation import Column, Visible
    from fluxbase.tables.plan import Level
    from fluxbase.tables.slots import Slots

OnConflict = Literal["update", "ignore"]
_PLAIN: Final = frozenset({"text", "character varying", "character", "bytea"})
OLD: Final = 18  # the version since which RETURNING knows rows as they were


@dataclass(frozen=True, slots=True)
class Written:
    """What a write gives back: `level` of at most `limit` rows and `max_bytes` bytes.

    `undo_bytes` bounds what is kept to take it back; 0 keeps nothing.
    """

    level: Level | None
    limit: int
    max_bytes: int
    undo_bytes: int


class Rows(NamedTuple):
    """Rows that set the same columns, and their places among all rows of the call."""

    columns: tuple[str, ...]
    rows: list[Mapping[str, Any]]
    places: list[int]


@dataclass(frozen=True, slots=True)
class Conflict:
    """What happens where a row with the same key is there; no target means any unique key."""

    target: tuple[str, ...]
    action: OnConflict


def row_before(table: Visible, row: Sql, most: Sql) -> Sql:
    """Return the readable columns of a row as JSON text, or `!` when it is too large to be kept.

    Neither function reads a value that lies apart from its row: `octet_length` of text and bytes
    is in the pointer to it, and of all else `pg_column_size` is what is stored.
    """
    names_ = list(table.readable)
    sizes = [
        concat(
            sql("coalesce("),
            _size(table.relation.columns[name]),
            row,
            sql("."),
            ident(name),
            sql(")::int8, 0)"),
        )
        for name in names_
    ]
    return concat(
        sql("CASE WHEN "),
        join(" + ", sizes),
        sql(" > "),
        most,
        sql("::int8 THEN '!' ELSE "),  # what no JSON text is; `kept` knows it
        row_json(names_, row),
        sql(" END"),
    )


def _size(column: Column) -> Sql:
    plain = column.base in _PLAIN and not column.is_array
    return sql("octet_length(") if plain else sql("pg_column_size(")


def row_json(columns: Iterable[str], row: Sql) -> Sql:
    """Return some columns of a row as JSON text."""
    record = join(", ", [concat(row, sql("."), ident(name)) for name in columns])
    return concat(sql("(SELECT row_to_json(k.*)::text FROM (SELECT "), record, sql(") AS k)"))


def fresh_row(table: Visible) -> Sql | None:
    """Return the condition that an upsert made a new row: there was none, not even its key."""
    for name in (*table.relation.primary_key, *table.readable):
        if name in table.grant.select and not table.relation.columns[name].nullable:
            return concat(sql('"was".'), ident(name), sql(" IS NULL"))
    return None


def when(condition: Sql | None, value: Sql) -> Sql:
    """Return a value where a condition holds, or always."""
    if condition is None:
        return value
    return concat(sql("CASE WHEN "), condition, sql(" THEN "), value, sql(" END"))


def overwritten(table: Visible, groups: Sequence[Rows], conflict: Conflict | None) -> Sql | None:
    """Return the rows that an insert finds in its place, when it can know them."""
    if conflict is None or conflict.action == "ignore" or not table.readable:
        return None
    inputs = [
        concat(sql("SELECT "), names(conflict.target), sql(" FROM "), ident(f"input{number}"))
        for number, group in enumerate(groups)
        if set(conflict.target) <= set(group.columns)
    ]
    if not inputs:
        return None
    query = concat(
        names(table.readable),
        sql(" FROM "),
        table_name(table.relation),
        sql(' AS "old" WHERE ('),
        names(conflict.target),
        sql(") IN ("),
        join(" UNION ALL ", inputs),
        sql(")"),
    )
    # A statement sees the rows as they were when it began, whatever another part of it does.
    return concat(
        sql("before AS (SELECT row_to_json(b.*)::text AS j FROM (SELECT "), query, sql(") AS b)")
    )


def key_json(table: Visible, row: Sql) -> Sql | None:
    """Return the primary key of a row as JSON text, when the caller may read it."""
    key = table.relation.primary_key
    return row_json(key, row) if key and table.grant.select.issuperset(key) else None


def kept(table: Sql, column: Sql, back: Written, slots: Slots) -> Sql:
    """Return JSON texts as one array, or null when they are too large to be kept."""
    most = slots.constant(back.undo_bytes)
    return concat(
        sql("(SELECT CASE WHEN NOT coalesce(bool_or(j = '!'), false) AND coalesce(max(s), 0) <= "),
        most,
        sql("::int8 THEN '[' || coalesce(string_agg(j, ',') FILTER (WHERE s <= "),
        most,
        sql("::int8), '') || ']' END FROM (SELECT "),
        column,
        sql(" AS j, sum(octet_length("),
        column,
        sql(")) OVER (ROWS UNBOUNDED PRECEDING) AS s FROM "),
        table,
        sql(") AS kept)"),
    )
