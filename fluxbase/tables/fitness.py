"""Which operators, aggregates and sortings fit which types; it must not make SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluxbase.grammar.operators import PARTS, PATTERNS, RANGES, TEXT_SEARCH
from fluxbase.grammar.words import wrong

if TYPE_CHECKING:
    from fluxbase.db.relation import Column
    from fluxbase.grammar.tree import Aggregate, Operator, Quantifier, Step, Truth
    from fluxbase.tables.plan import Value

_CONTAINERS: Final = frozenset({"jsonb", "box", "polygon", "circle"})
_OPAQUE: Final = frozenset(
    {"json", "xml", "uuid", "bytea", "tsvector", "macaddr", "macaddr8", "pg_lsn", "pg_snapshot"}
)
# Types that lack an operator: asking for it would be Postgres' error rather than the caller's.
_UNEQUAL: Final = frozenset({"json", "xml", "point", "polygon"})  # no `=`
_UNLIKE: Final = _UNEQUAL | {"line", "box", "path", "aclitem"}  # no `<>`
_UNCOMPARED: Final = _UNEQUAL | {"line", "xid", "cid", "aclitem"}  # no `<`
# Types that rows can be neither sorted nor grouped by, for want of an operator class.
_UNORDERED: Final = _UNCOMPARED | {"box", "lseg", "path", "circle"}
_LACKING: Final[dict[Operator, frozenset[str]]] = {
    "eq": _UNEQUAL,
    "neq": _UNLIKE,
    "isdistinct": _UNLIKE,
    "in": _UNEQUAL,
    "gt": _UNCOMPARED,
    "gte": _UNCOMPARED,
    "lt": _UNCOMPARED,
    "lte": _UNCOMPARED,
}
_JSON: Final = frozenset({"json", "jsonb"})
_WITH_PARTS: Final = frozenset("AC")  # arrays and composites become JSON arrays and objects
_RANGES: Final = "R"
_WITHOUT_EXTREMES: Final = frozenset({"jsonb", "boolean", "bool", "uuid", "bytea", "regclass"})
_ADDED: Final = frozenset(
    {"smallint", "int2", "integer", "int", "int4", "bigint", "int8", "numeric", "decimal", "real",
     "float4", "double precision", "float8", "interval"}
)  # fmt: skip
_COMPARED: Final = frozenset("DENST")  # dates, enums, numbers, texts, intervals


def typed(column: Column, path: tuple[Step, ...], where: str) -> Column:
    """Return the column as it is at the end of a path: text, or JSON.

    Raises:
        InvalidFilter: values of the column have no parts.
    """
    if not path:
        return column
    if column.base not in _JSON and column.category not in _WITH_PARTS:
        raise wrong(where, f"{_a(column.type)} column has no parts that '->' could reach")
    base = "text" if path[-1].text else "jsonb"
    return replace(
        column,
        type=base,
        base=base,
        cast=f"pg_catalog.{base}",
        category="S" if base == "text" else "U",
        is_array=False,
        values=(),
        function=None,
    )


def check_operator(
    column: Column, operator: Operator, quantifier: Quantifier | None, where: str
) -> None:
    """See that an operator can be asked of a column.

    Raises:
        InvalidFilter: it cannot.
    """
    if not _fits(column, operator) or (quantifier and column.is_array):
        word = f"{operator}({quantifier})" if quantifier else operator
        raise wrong(where, f"'{word}' cannot be asked of {_a(column.type)} column")


def _fits(column: Column, operator: Operator) -> bool:
    if operator in PATTERNS:
        return True
    if operator in TEXT_SEARCH:
        return column.category == "S" or column.base in ("tsvector", "json", "jsonb")
    if operator in RANGES:
        return column.category == _RANGES
    if operator in PARTS:
        return _has_parts(column) and (operator != "ov" or column.base != "jsonb")
    return column.base not in _LACKING[operator] and not (column.is_array and operator == "in")


def _has_parts(column: Column) -> bool:
    if column.is_array or column.category == _RANGES or column.base in _CONTAINERS:
        return True
    # Of types that extensions bring, Postgres itself decides.
    return column.category == "U" and column.base not in _OPAQUE


def check_truth(value: Value, truth: Truth, where: str) -> None:
    """See that a truth can be asked of a value.

    Raises:
        InvalidFilter: only a boolean is true, false or unknown.
    """
    if truth in ("true", "false", "unknown") and value.type.base != "boolean":
        raise wrong(where, f"'is.{truth}' needs a boolean column")


def check_order(column: Column, where: str) -> None:
    """See that rows can be sorted and grouped by a column.

    Raises:
        InvalidFilter: its values have no order.
    """
    if column.base in _UNORDERED:
        raise wrong(where, f"{_a(column.type)} column has no order")


def check_aggregate(column: Column, aggregate: Aggregate, cast: str | None, where: str) -> None:
    """See that a column can be aggregated.

    Raises:
        InvalidFilter: its values cannot be added up or compared.
    """
    if aggregate == "count":
        return
    kind = cast or column.type
    if aggregate in ("sum", "avg"):
        numeric = column.base in _ADDED or (column.base == "money" and aggregate == "sum")
        if not (cast in _ADDED if cast else numeric):
            hint = "cast it first: value::numeric.sum()"
            raise wrong(where, f"'{aggregate}' cannot be asked of {_a(kind)} value", hint)
    elif not _has_extremes(column, cast):
        raise wrong(where, f"'{aggregate}' cannot be asked of {_a(kind)} value")


def _has_extremes(column: Column, cast: str | None) -> bool:
    if cast is not None:
        return cast not in _UNORDERED | _WITHOUT_EXTREMES
    if column.is_array or column.base in ("inet", "cidr", "money", "pg_lsn"):
        return True
    return column.category in _COMPARED and column.base not in _UNORDERED | _WITHOUT_EXTREMES


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
