"""Makes the SQL that gives the rows of a plan, related ones within them, in one statement.

The page of a table is found first, by its conditions, sorting and limit; related rows are looked
up for the rows of that page alone. A related table that decides whether a row is there at all is
a condition (`EXISTS`) of the page. Each table is read under its own policies, since all of it runs
as the caller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from fluxbase.db.sql import Sql, concat, ident, join, sql
from fluxbase.grammar.words import wrong
from fluxbase.tables.expressions import cast, condition, sorted_by, table_name, value_of
from fluxbase.tables.plan import Output, Related

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluxbase.tables.plan import Exists, Join, Level, Sort
    from fluxbase.tables.slots import Slots

_NO: Final = Sql("")
_MOST_TESTS: Final = 100


class Link(NamedTuple):
    """How a level hangs on the row above it: the join, and the columns of that row."""

    join: Join
    above: Callable[[str], Sql]


class Writer:
    """Writes one statement."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._aliases = 0
        self._tests = 0

    def alias(self) -> Sql:
        """Return a name for a table within the statement that nothing else in it has."""
        self._aliases += 1
        return ident(f"t{self._aliases}")

    def rows(self, level: Level, link: Link | None = None, hidden: tuple[Sort, ...] = ()) -> Sql:
        """Return the query of a level's rows, whose columns have the names of the answer.

        Args:
            level: what is asked.
            link: the row above, whose related rows these are.
            hidden: sort values to return too, as text, under the names of `hidden_name`.
        """
        if level.grouped:
            return self._grouped(level, link)
        if not level.related:
            row = self.alias()
            columns = [self.output(item, row) for item in level.items if isinstance(item, Output)]
            columns += [self._hidden(sort, row, n) for n, sort in enumerate(hidden)]
            return self.page(level, row, columns, link)
        return self._with_related(level, link, hidden)

    def page(self, level: Level, row: Sql, columns: Iterable[Sql], link: Link | None) -> Sql:
        """Return the query of a level's own table."""
        return concat(
            sql("SELECT "),
            join(", ", columns),
            self.source(level, row, link),
            self.order(level.order, row),
            # A view may show the one row that is meant several times.
            sql(" LIMIT 1") if _one_of_view(level, link) else self._bounds(level),
        )

    def _bounds(self, level: Level) -> Sql:
        """Return LIMIT and OFFSET, as far as they are asked for."""
        limit = offset = _NO
        if level.limit is not None:
            limit = concat(sql(" LIMIT "), self.slots.use(level.limit), sql("::int8"))
        if level.offset is not None:
            offset = concat(sql(" OFFSET "), self.slots.use(level.offset), sql("::int8"))
        return concat(limit, offset)

    def source(self, level: Level, row: Sql, link: Link | None = None) -> Sql:
        """Return FROM and WHERE of a level."""
        tables = [concat(table_name(level.table.relation), sql(" AS "), row)]
        conditions: list[Sql] = []
        if link is not None:
            between = self.alias() if link.join.junction else row
            conditions += [
                concat(between, sql("."), ident(there), sql(" = "), link.above(here))
                for here, there in link.join.pairs
            ]
            if link.join.junction is not None:
                tables.append(concat(table_name(link.join.junction.relation), sql(" AS "), between))
                conditions += [
                    concat(between, sql("."), ident(here), sql(" = "), row, sql("."), ident(there))
                    for here, there in link.join.beyond
                ]
        own = condition(level.where, row, self.slots, self._exists)
        if own != "true":
            conditions.append(concat(sql("("), own, sql(")")) if conditions else own)
        where = concat(sql(" WHERE "), join(" AND ", conditions)) if conditions else _NO
        return concat(sql(" FROM "), join(", ", tables), where)

    def where(self, level: Level, row: Sql) -> Sql:
        """Return ` WHERE …` of a level's own conditions, or nothing when they always hold."""
        own = condition(level.where, row, self.slots, self._exists)
        return _NO if own == "true" else concat(sql(" WHERE "), own)

    def order(self, order: Iterable[Sort], row: Sql) -> Sql:
        """Return ORDER BY, or nothing."""
        items = [sorted_by(self._sort_value(sort, row), sort) for sort in order]
        return concat(sql(" ORDER BY "), join(", ", items)) if items else _NO

    def beside(self, level: Level, row: Sql) -> tuple[list[Sql], Sql]:
        """Return the columns of a level's answer, and the joins they need.

        Args:
            level: what is asked.
            row: the alias of a page with the columns that `page_columns` gives.
        """
        keys = _keys(level)

        def above(name: str) -> Sql:
            return concat(row, sql("."), ident(keys[name]))

        columns: list[Sql] = []
        joins: list[Sql] = []
        for place, item in enumerate(level.items):
            if isinstance(item, Output):
                value = concat(row, sql("."), ident(f"c{place}"))
                columns.append(concat(value, sql(" AS "), ident(item.name)))
            elif not item.level.items:
                continue
            elif not item.spread:
                inside = self._nested(item, Link(item.join, above))
                columns.append(concat(inside, sql(" AS "), ident(item.name)))
            else:
                beside = self.alias()
                joins.append(self._spread(item, Link(item.join, above), beside))
                columns += [self._spread_column(item, beside, n) for n in item.level.names()]
        return columns, concat(*joins)

    def page_columns(self, level: Level, row: Sql) -> list[Sql]:
        """Return what a page has to hold for `beside`: its own values, and what joins need."""
        columns = [
            concat(self._value(item, row), sql(" AS "), ident(f"c{place}"))
            for place, item in enumerate(level.items)
            if isinstance(item, Output)
        ]
        return columns + [
            concat(row, sql("."), ident(name), sql(" AS "), ident(key))
            for name, key in _keys(level).items()
        ]

    def _with_related(self, level: Level, link: Link | None, hidden: tuple[Sort, ...]) -> Sql:
        row, page = self.alias(), self.alias()
        inner = self.page_columns(level, row)
        inner += [self._hidden(sort, row, n) for n, sort in enumerate(hidden)]
        columns, joins = self.beside(level, page)
        columns += [concat(page, sql("."), ident(hidden_name(n))) for n in range(len(hidden))]
        found = self.page(level, row, inner, link)
        last = _NO
        if level.order:
            numbered = concat(sql('SELECT q.*, row_number() OVER () AS "n" FROM ('), found)
            found, last = (
                concat(numbered, sql(") AS q")),
                concat(sql(" ORDER BY "), page, sql('."n"')),
            )
        return concat(
            sql("SELECT "),
            join(", ", columns),
            sql(" FROM ("),
            found,
            sql(") AS "),
            page,
            joins,
            last,
        )

    def _nested(self, item: Related, link: Link) -> Sql:
        """Return related rows as one JSON value."""
        inner = self.rows(item.level, link)
        if not item.join.many:
            return concat(sql("(SELECT row_to_json(x.*) FROM ("), inner, sql(") AS x)"))
        return concat(
            sql("(SELECT ('[' || coalesce(string_agg(row_to_json(x.*)::text, ','), '') "),
            sql("|| ']')::json FROM ("),
            inner,
            sql(") AS x)"),
        )

    def _spread(self, item: Related, link: Link, beside: Sql) -> Sql:
        level = _raw(item.level) if item.level.grouped and not item.join.many else item.level
        inner = self.rows(level, link)
        if item.join.many:
            lists = [
                concat(sql("json_agg(x."), ident(name), sql(") AS "), ident(name))
                for name in level.names()
            ]
            inner = concat(sql("SELECT "), join(", ", lists), sql(" FROM ("), inner, sql(") AS x"))
        return concat(sql(" LEFT JOIN LATERAL ("), inner, sql(") AS "), beside, sql(" ON true"))

    def _spread_column(self, item: Related, beside: Sql, name: str) -> Sql:
        value = concat(beside, sql("."), ident(name))
        if item.join.many:
            value = concat(sql("coalesce("), value, sql(", '[]')"))
        return concat(value, sql(" AS "), ident(name))

    def _grouped(self, level: Level, link: Link | None) -> Sql:
        """Return the query of an aggregated level: its rows first, then their groups."""
        inner = self.alias()
        values = [self._grouped_value(n, item, inner) for n, item in _flat(level)]
        groups = [value.group for value in values if value.group]
        order = [
            sorted_by(values[sort.output].value, sort)
            for sort in level.order
            if sort.output is not None
        ]
        return concat(
            sql("SELECT "),
            join(", ", [concat(v.value, sql(" AS "), ident(v.name)) for v in values]),
            sql(" FROM ("),
            self.rows(_raw(level), link),
            sql(") AS "),
            inner,
            concat(sql(" GROUP BY "), join(", ", groups)) if groups else _NO,
            concat(sql(" ORDER BY "), join(", ", order)) if order else _NO,
            self._bounds(level),
        )

    def _grouped_value(self, name: str, item: Output | Related, inner: Sql) -> _Grouped:
        column = concat(inner, sql("."), ident(name))
        if isinstance(item, Related):
            # JSON has no equality; its text has.
            text = concat(column, sql("::text"))
            return _Grouped(name, concat(sql("("), text, sql(")::json")), text)
        if item.aggregate is None:
            return _Grouped(name, column, column)
        value = concat(_AGGREGATES[item.aggregate], column, sql(")"))
        return _Grouped(name, cast(value, item.result_cast), None)

    def _exists(self, node: Exists, row: Sql) -> Sql:
        self._tests += 1
        if self._tests > _MOST_TESTS:
            # Each holds those of the tables below it, so they multiply with every level.
            raise wrong("filter", f"more than {_MOST_TESTS} tests of embedded tables")
        item = node.relation
        link = Link(item.join, _columns_of(row))
        source = self.source(item.level, self.alias(), link)
        return concat(sql("EXISTS (SELECT 1"), source, self._bounds(item.level), sql(")"))

    def _sort_value(self, sort: Sort, row: Sql) -> Sql:
        if sort.value is None:
            raise TypeError("only an aggregated answer is sorted by its own values")
        if sort.related is None:
            return value_of(sort.value, row, self.slots, compared=True)
        other = self.alias()
        link = Link(sort.related.join, _columns_of(row))
        value = value_of(sort.value, other, self.slots, compared=True)
        source = self.source(sort.related.level, other, link)
        return concat(sql("(SELECT "), value, source, sql(" LIMIT 1)"))

    def _hidden(self, sort: Sort, row: Sql, place: int) -> Sql:
        value = self._sort_value(sort, row)
        return concat(sql("("), value, sql(")::text AS "), ident(hidden_name(place)))

    def output(self, item: Output, row: Sql) -> Sql:
        """Return one value of the answer, under its name."""
        return concat(self._value(item, row), sql(" AS "), ident(item.name))

    def _value(self, item: Output, row: Sql) -> Sql:
        if item.value is None:
            return sql("1")  # a row, to be counted
        return cast(value_of(item.value, row, self.slots), item.cast)


class _Grouped(NamedTuple):
    """One value of an aggregated answer, and what it is grouped by."""

    name: str
    value: Sql
    group: Sql | None


_AGGREGATES: Final = {
    "count": sql("count("),
    "sum": sql("sum("),
    "avg": sql("avg("),
    "min": sql("min("),
    "max": sql("max("),
}


def hidden_name(place: int) -> str:
    """Return the name of a sort value that goes with a row but not into the answer."""
    return f"\x01{place}"


def _one_of_view(level: Level, link: Link | None) -> bool:
    return (
        link is not None
        and not link.join.many
        and bool(level.table.relation.origins or level.table.relation.has_heirs)
    )


def _keys(level: Level) -> dict[str, str]:
    """Return the columns that related tables join by, and what a page calls them."""
    needed = sorted({here for item in level.related for here, _ in item.join.pairs})
    return {name: f"k{n}" for n, name in enumerate(needed)}


def _columns_of(row: Sql) -> Callable[[str], Sql]:
    return lambda name: concat(row, sql("."), ident(name))


def _raw(level: Level) -> Level:
    """Return a level as it is before its rows are aggregated."""
    items = tuple(
        replace(item, aggregate=None, result_cast=None) if isinstance(item, Output) else item
        for item in level.items
    )
    return replace(level, items=items, grouped=False, order=(), limit=None, offset=None)


def _flat(level: Level) -> list[tuple[str, Output | Related]]:
    """Return the values of an aggregated level by name, those of spread tables among them."""
    found: list[tuple[str, Output | Related]] = []
    for item in level.items:
        if isinstance(item, Output) or not item.spread:
            if isinstance(item, Output) or item.level.items:
                found.append((item.name, item))
        elif item.join.many:
            found += [(name, item) for name in item.level.names()]
        else:
            found += _flat(item.level)
    return found
