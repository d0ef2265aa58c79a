"""Makes SQL of a plan; identifiers come from the catalog, values only as parameters.

Every statement returns one row whose first column is `current_user`, which the session compares
with the caller's role, and carries the rows as JSON text made inside Postgres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.db.sql import Params, Sql, Statement, catalog_type, concat, ident, join, sql
from fluxbase.tables.plan import All, Among, Compare, Is, Not
from fluxbase.tables.shapes import Texts, shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.db.relation import Column, Relation
    from fluxbase.tables.plan import Condition, Operator, Order, Read, Truth

_OPERATORS: Final[dict[Operator, Sql]] = {
    "eq": sql(" = "),
    "neq": sql(" <> "),
    "gt": sql(" > "),
    "gte": sql(" >= "),
    "lt": sql(" < "),
    "lte": sql(" <= "),
    "like": sql(" LIKE "),
    "ilike": sql(" ILIKE "),
    "cs": sql(" @> "),
    "cd": sql(" <@ "),
    "ov": sql(" && "),
}
_TRUTHS: Final[dict[Truth, Sql]] = {
    "null": sql(" IS NULL"),
    "not_null": sql(" IS NOT NULL"),
    "true": sql(" IS TRUE"),
    "false": sql(" IS FALSE"),
    "unknown": sql(" IS UNKNOWN"),
}

# Like the cache of a pure function: what is in it follows from the plan alone.
_TEXTS: Final = Texts()


def table_name(relation: Relation) -> Sql:
    """Return the quoted name of a relation."""
    return ident(relation.schema, relation.name)


def names(columns: Iterable[str]) -> Sql:
    """Return quoted column names, comma-separated."""
    return join(", ", (ident(name) for name in columns))


def where(condition: Condition, params: Params) -> Sql:
    """Return ` WHERE …`, or nothing when the condition always holds."""
    if isinstance(condition, All) and not condition.parts:
        return sql("")
    return concat(sql(" WHERE "), _condition(condition, params))


def read(plan: Read) -> Statement:
    """Return the statement of a page: (role, rows as JSON array, rows in it, rows seen, total).

    One row more than asked is looked at, which tells whether there are more; rows past the byte
    limit are left out inside Postgres, before they are sent.
    """
    values: list[object] = []
    key = shape(plan, values)
    text = _TEXTS.get(key, plan.table.relation)
    if text is None:
        text = _read(plan)
        _TEXTS.keep(key, plan.table.relation, text)
    offset = (plan.offset,) if plan.offset else ()
    return Statement(text, (*values, plan.limit + 1, *offset, plan.limit, plan.max_bytes))


def _read(plan: Read) -> Sql:
    """Return the text of `read`; its parameters stand in the order that `read` gives values in."""
    params = Params()
    relation = plan.table.relation
    condition = where(plan.where, params)
    source = concat(sql(" FROM "), table_name(relation), condition)
    page = concat(
        sql("SELECT "),
        names(plan.columns),
        source,
        _order(plan.order),
        sql(" LIMIT "),
        params.add(plan.limit + 1),
        sql("::int8"),
        concat(sql(" OFFSET "), params.add(plan.offset), sql("::int8")) if plan.offset else sql(""),
    )
    fits = concat(
        sql("n <= "),
        params.add(plan.limit),
        sql("::int8 AND bytes <= "),
        params.add(plan.max_bytes),
        sql("::int8"),
    )
    total = (
        concat(sql("(SELECT count(*)"), source, sql(")"))
        if plan.count == "exact"
        else sql("NULL::int8")
    )
    return concat(
        sql(
            "SELECT current_user::text, "
            "'[' || coalesce(string_agg(j, ',' ORDER BY n) FILTER (WHERE "
        ),
        fits,
        sql("), '') || ']', count(*) FILTER (WHERE "),
        fits,
        sql("), count(*), "),
        total,
        sql(
            " FROM (SELECT j, n, sum(octet_length(j) + 1) OVER (ORDER BY n) AS bytes FROM "
            "(SELECT row_to_json(r)::text AS j, row_number() OVER () AS n FROM ("
        ),
        page,
        sql(") r) s) t"),
    )


def count(relation: Relation, condition: Condition) -> Statement:
    """Return the statement that counts the caller's rows: (role, count)."""
    params = Params()
    text = concat(
        sql("SELECT current_user::text, count(*) FROM "),
        table_name(relation),
        where(condition, params),
    )
    return Statement(text, tuple(params.values))


def literal(column: Column, value: Sql) -> Sql:
    """Return a text parameter read as the column's type."""
    return concat(sql("("), value, sql("::text)::"), catalog_type(column.cast))


def _order(items: tuple[Order, ...]) -> Sql:
    if not items:
        return sql("")
    return concat(sql(" ORDER BY "), join(", ", (_sorted_by(item) for item in items)))


def _sorted_by(item: Order) -> Sql:
    nulls = {None: sql(""), "first": sql(" NULLS FIRST"), "last": sql(" NULLS LAST")}[item.nulls]
    return concat(ident(item.column.name), sql(" DESC") if item.descending else sql(""), nulls)


def _condition(node: Condition, params: Params) -> Sql:
    match node:
        case Compare():
            return _compare(node, params)
        case Among(column, values):
            array = params.add(list(values))
            kind = catalog_type(column.cast)
            return concat(
                ident(column.name), sql(" = ANY (("), array, sql("::text[])::"), kind, sql("[])")
            )
        case Is(column, truth):
            return concat(ident(column.name), _TRUTHS[truth])
        case Not(inner):
            return concat(sql("NOT ("), _condition(inner, params), sql(")"))
        case All(parts):
            if not parts:
                return sql("true")
            inner = [concat(sql("("), _condition(part, params), sql(")")) for part in parts]
            return join(" AND ", inner)


def _compare(node: Compare, params: Params) -> Sql:
    name, value = ident(node.column.name), params.add(node.value)
    if node.operator in ("like", "ilike"):
        # What is not text has no LIKE of its own; people look for parts of a UUID or a number too.
        return concat(name, sql("::text"), _OPERATORS[node.operator], value, sql("::text"))
    return concat(name, _OPERATORS[node.operator], literal(node.column, value))
