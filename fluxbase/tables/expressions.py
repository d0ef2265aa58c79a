"""Makes SQL of values and conditions; identifiers come from the catalog, values are parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from fluxbase.db.sql import Sql, catalog_type, concat, ident, join, sql
from fluxbase.grammar.operators import PATTERNS, TEXT_SEARCH
from fluxbase.tables.plan import After, Exists, Group, Is, Not, Test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluxbase.db.relation import Column, Relation
    from fluxbase.grammar.tree import Operator, Truth
    from fluxbase.tables.plan import Condition, Sort, Value
    from fluxbase.tables.slots import Slots

OPERATORS: Final[dict[Operator, Sql]] = {
    "eq": sql(" = "),
    "neq": sql(" <> "),
    "gt": sql(" > "),
    "gte": sql(" >= "),
    "lt": sql(" < "),
    "lte": sql(" <= "),
    "isdistinct": sql(" IS DISTINCT FROM "),
    "like": sql(" LIKE "),
    "ilike": sql(" ILIKE "),
    "match": sql(" ~ "),
    "imatch": sql(" ~* "),
    "cs": sql(" @> "),
    "cd": sql(" <@ "),
    "ov": sql(" && "),
    "sl": sql(" << "),
    "sr": sql(" >> "),
    "nxr": sql(" &< "),
    "nxl": sql(" &> "),
    "adj": sql(" -|- "),
}
_SEARCHES: Final[dict[Operator, Sql]] = {
    "fts": sql("to_tsquery("),
    "plfts": sql("plainto_tsquery("),
    "phfts": sql("phraseto_tsquery("),
    "wfts": sql("websearch_to_tsquery("),
}
_TRUTHS: Final[dict[Truth, Sql]] = {
    "null": sql(" IS NULL"),
    "not_null": sql(" IS NOT NULL"),
    "true": sql(" IS TRUE"),
    "false": sql(" IS FALSE"),
    "unknown": sql(" IS UNKNOWN"),
}
# What `::type` may name in a call, as Postgres calls it wherever the search path leads.
CASTS: Final[dict[str, Sql]] = {
    "text": sql("pg_catalog.text"),
    "varchar": sql("pg_catalog.varchar"),
    "smallint": sql("pg_catalog.int2"),
    "int2": sql("pg_catalog.int2"),
    "integer": sql("pg_catalog.int4"),
    "int": sql("pg_catalog.int4"),
    "int4": sql("pg_catalog.int4"),
    "bigint": sql("pg_catalog.int8"),
    "int8": sql("pg_catalog.int8"),
    "numeric": sql("pg_catalog.numeric"),
    "decimal": sql("pg_catalog.numeric"),
    "real": sql("pg_catalog.float4"),
    "float4": sql("pg_catalog.float4"),
    "double precision": sql("pg_catalog.float8"),
    "float8": sql("pg_catalog.float8"),
    "boolean": sql("pg_catalog.bool"),
    "bool": sql("pg_catalog.bool"),
    "date": sql("pg_catalog.date"),
    "time": sql("pg_catalog.time"),
    "timetz": sql("pg_catalog.timetz"),
    "timestamp": sql("pg_catalog.timestamp"),
    "timestamptz": sql("pg_catalog.timestamptz"),
    "interval": sql("pg_catalog.interval"),
    "uuid": sql("pg_catalog.uuid"),
    "json": sql("pg_catalog.json"),
    "jsonb": sql("pg_catalog.jsonb"),
    "bytea": sql("pg_catalog.bytea"),
    "inet": sql("pg_catalog.inet"),
    "cidr": sql("pg_catalog.cidr"),
}


def table_name(relation: Relation) -> Sql:
    """Return the quoted name of a relation."""
    return ident(relation.schema, relation.name)


def names(columns: Iterable[str]) -> Sql:
    """Return quoted column names, comma-separated."""
    return join(", ", (ident(name) for name in columns))


def literal(column: Column, value: Sql) -> Sql:
    """Return a text parameter read as the column's type."""
    return concat(sql("("), value, sql("::text)::"), catalog_type(column.cast))


def cast(expression: Sql, name: str | None) -> Sql:
    """Return an expression as one of the types that a call may name."""
    if name is None:
        return expression
    array = sql("[]") if name.endswith("[]") else sql("")
    return concat(sql("("), expression, sql(")::"), CASTS[name.removesuffix("[]")], array)


def value_of(value: Value, row: Sql, slots: Slots, *, compared: bool = False) -> Sql:
    """Return the SQL of a value of `row`; `compared` ones need a type that has an equality."""
    column = value.column
    if column.function is None:
        found = concat(row, sql("."), ident(column.name))
    else:
        found = concat(catalog_type(column.function), sql("("), row, sql(".*)"))
    if not value.path:
        return found
    if column.base == "json" and compared:
        found = concat(found, sql("::pg_catalog.jsonb"))
    elif column.base not in ("json", "jsonb"):
        found = concat(sql("to_jsonb("), found, sql(")"))
    for step in value.path:
        arrow = sql("->>") if step.text else sql("->")
        kind = sql("::int4") if isinstance(step.key, int) else sql("::text")
        found = concat(sql("("), found, arrow, slots.constant(step.key), kind, sql(")"))
    return found


def condition(node: Condition, row: Sql, slots: Slots, exists: Callable[[Exists, Sql], Sql]) -> Sql:
    """Return the SQL of a condition about `row`; `exists` makes that of related rows."""
    match node:
        case Test():
            return _test(node, row, slots)
        case Is(value, truth):
            return concat(value_of(value, row, slots), _TRUTHS[truth])
        case Not(inner):
            return concat(sql("NOT ("), condition(inner, row, slots, exists), sql(")"))
        case Exists():
            return exists(node, row)
        case After():
            return _after(node, row, slots)
        case Group(word, parts):
            inner_ = [
                concat(sql("("), condition(part, row, slots, exists), sql(")")) for part in parts
            ]
            return join(" AND " if word == "and" else " OR ", inner_ or [sql("true")])
        case _:
            assert_never(node)


def _test(node: Test, row: Sql, slots: Slots) -> Sql:
    value = value_of(node.value, row, slots, compared=True)
    column = node.value.type
    operand = slots.use(node.slot)
    if node.operator in TEXT_SEARCH:
        return _search(node, value, operand, slots)
    kind = catalog_type(column.cast)
    if node.operator in PATTERNS:
        # What is not text has no LIKE of its own; people look for parts of a UUID or number too.
        value, kind = concat(value, sql("::text")), sql("text")
    if node.operator == "in":
        return concat(value, sql(" = ANY (("), operand, sql("::text[])::"), kind, sql("[])"))
    word = OPERATORS[node.operator]
    if node.quantifier is not None:
        many = sql("ANY ((") if node.quantifier == "any" else sql("ALL ((")
        return concat(value, word, many, operand, sql("::text)::"), kind, sql("[])"))
    if node.operator in PATTERNS:
        return concat(value, word, operand, sql("::text"))
    return concat(value, word, literal(column, operand))


def _search(node: Test, value: Sql, operand: Sql, slots: Slots) -> Sql:
    config = sql("")
    if node.config is not None:
        config = concat(sql("("), slots.use(node.config), sql("::text)::pg_catalog.regconfig, "))
    if node.value.type.base != "tsvector":
        value = concat(sql("to_tsvector("), config, value, sql(")"))
    query = concat(_SEARCHES[node.operator], config, operand, sql("::text)"))
    return concat(value, sql(" @@ "), query)


def sorted_by(expression: Sql, sort: Sort) -> Sql:
    """Return one item of ORDER BY."""
    nulls = {None: sql(""), "first": sql(" NULLS FIRST"), "last": sql(" NULLS LAST")}[sort.nulls]
    return concat(expression, sql(" DESC") if sort.descending else sql(""), nulls)


def _after(node: After, row: Sql, slots: Slots) -> Sql:
    """Return the condition of standing after a place in the sorting.

    A row does when it is equal in the first values and behind in the next one. Where nulls cannot
    be and all values run one way, that is Postgres' own comparison of rows, which an index serves.
    """
    placed = [
        _Placed.of(sort, slot, row, slots)
        for sort, slot in zip(node.order, node.slots, strict=True)
    ]
    first = node.order[0].descending
    if all(p.plain and p.sort.descending == first for p in placed):
        here = join(", ", [p.expression for p in placed])
        there = join(", ", [p.operand for p in placed if p.operand is not None])
        return concat(sql("("), here, sql(") < (") if first else sql(") > ("), there, sql(")"))
    ways: list[Sql] = []
    for place, item in enumerate(placed):
        parts = [*(p.equal() for p in placed[:place]), item.behind()]
        ways.append(concat(sql("("), join(" AND ", parts), sql(")")))
    found = join(" OR ", ways)
    if placed[0].plain and placed[0].operand is not None:
        # The same again in a form that an index serves.
        word = sql(" <= ") if first else sql(" >= ")
        bound = concat(placed[0].expression, word, placed[0].operand)
        return concat(bound, sql(" AND ("), found, sql(")"))
    return found


class _Placed:
    """One value of a place in the sorting, and what it is compared with."""

    __slots__ = ("expression", "operand", "plain", "sort")

    def __init__(self, sort: Sort, expression: Sql, operand: Sql | None, *, plain: bool) -> None:
        self.sort, self.expression, self.operand, self.plain = sort, expression, operand, plain

    @classmethod
    def of(cls, sort: Sort, slot: int | None, row: Sql, slots: Slots) -> _Placed:
        value = sort.value
        if value is None:
            raise TypeError("a place in the sorting is made of values of the row")
        operand = None if slot is None else literal(value.type, slots.use(slot))
        stored = not value.path and value.column.function is None
        plain = stored and not value.column.nullable and operand is not None
        return cls(sort, value_of(value, row, slots, compared=True), operand, plain=plain)

    def equal(self) -> Sql:
        if self.operand is None:
            return concat(self.expression, sql(" IS NULL"))
        return concat(self.expression, sql(" = "), self.operand)

    def behind(self) -> Sql:
        # Postgres puts nulls behind everything, so they come first where the order is reversed.
        last = self.sort.nulls == "last" or (self.sort.nulls is None and not self.sort.descending)
        if self.operand is None:
            # Never `false` alone: a parameter that the expression holds would have no type.
            return concat(self.expression, sql(" IS NULL AND false" if last else " IS NOT NULL"))
        word = sql(" < ") if self.sort.descending else sql(" > ")
        behind = concat(self.expression, word, self.operand)
        if last and not self.plain:
            return concat(sql("("), behind, sql(" OR "), self.expression, sql(" IS NULL)"))
        return behind
