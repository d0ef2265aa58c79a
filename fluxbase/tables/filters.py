"""Reads a filter (`{"age": "gte.18"}`) into a tree of conditions; it must not make SQL.

A value is `operator.value` as in PostgREST, a list of such conditions that must all hold, an
object of operators (`{"gte": 18, "lt": 65}`), or a plain JSON number, boolean or null, which is
equality. Nothing is ever left out: what cannot be read is an error that names the column.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from fluxbase.strict_json import dumps
from fluxbase.tables import words
from fluxbase.tables.plan import All, Among, Compare, Condition, Is, Not, Operator, Truth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.relation import Column, Visible

_OPERATORS: Final = (*get_args(Operator), "isnot", "nin")
_TRUTHS: Final[tuple[Truth, ...]] = get_args(Truth)
_HINT: Final = (
    "write 'operator.value', such as 'eq.active', 'gte.18', 'in.(a,b)' or 'is.null'; "
    "operators: " + ", ".join(_OPERATORS)
)
_MAX_CONDITIONS: Final = 200
_MAX_ITEMS: Final = 10_000
_MAX_LIST_BYTES: Final = 1_000_000
_MAX_PATTERN: Final = 1000
_MAX_ELEMENTS: Final = 1000
_PART_OPERATORS: Final = ("cs", "cd", "ov")
# An item in quotes, or one without any; then a comma or the end. Possessive throughout: with
# backtracking, a megabyte of blanks would keep the server busy for hours.
_ITEM: Final = re.compile(r'\s*+(?:"((?:[^"\\]|\\.)*+)"\s*+|([^",]*+))(?=,|\Z)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_JSON_TYPES: Final = frozenset({"json", "jsonb"})
_SCALAR: Final = frozenset("BDENST")  # pg_type.typcategory: what has no parts to contain
_OPAQUE: Final = frozenset({"json", "xml", "uuid", "bytea"})


def parse(table: Visible, filters: Mapping[str, Any]) -> All:
    """Return the conditions of a filter, all of which must hold.

    Raises:
        InvalidFilter: an operator or a value is wrong; the message names the column.
        UnknownColumn: a column does not exist for the caller.
    """
    parts: list[Condition] = []
    if len(filters) > _MAX_CONDITIONS:
        raise words.wrong("filter", f"more than {_MAX_CONDITIONS} conditions")
    for name, value in filters.items():
        column = words.column(table, name, table.readable, "filter")
        parts.extend(_conditions(column, value, f"filter.{name}"))
    if len(parts) > _MAX_CONDITIONS:
        raise words.wrong("filter", f"more than {_MAX_CONDITIONS} conditions")
    return All(tuple(parts))


def _conditions(column: Column, value: object, where: str) -> list[Condition]:
    if isinstance(value, str):
        return [_from_text(column, value, where)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        if not items:
            raise words.wrong(where, "an empty object says nothing", _HINT)
        return [_from_operator(column, op, operand, where) for op, operand in items.items()]
    if isinstance(value, list):
        listed = _listed(cast("list[object]", value), where)
        return [condition for item in listed for condition in _conditions(column, item, where)]
    return [_equal(column, value, where)]


def _listed(items: list[object], where: str) -> list[object]:
    """Return the conditions of a list, all of which must hold.

    Raises:
        InvalidFilter: the list is empty or too long, or can only mean something else.
    """
    if not items:
        raise words.wrong(where, "an empty list says nothing", _HINT)
    if len(items) > _MAX_CONDITIONS:
        raise words.wrong("filter", f"more than {_MAX_CONDITIONS} conditions")
    if any(isinstance(item, list) for item in items):
        raise words.wrong(where, "a list of lists is not a condition", _HINT)
    if sum(not isinstance(item, str | dict) for item in items) > 1:
        # A column is never two values at once, so what is meant is any of them.
        raise words.wrong(where, "a list means that all must hold; for any of them use 'in'")
    return items


def _equal(column: Column, value: object, where: str) -> Condition:
    if value is None:
        return Is(column, "null")
    return Compare(column, cast("Operator", _operator(column, "eq", where)), _text(value))


def _from_text(column: Column, text: str, where: str) -> Condition:
    word, dot, rest = text.partition(".")
    negated = word == "not"
    if negated:
        word, dot, rest = rest.partition(".")
    if not dot:
        raise words.wrong(where, "an operator is missing", _HINT)
    operator = _operator(column, word, where)
    if operator in ("in", "nin"):
        condition = _among(column, _items(rest, where), operator, where)
    elif operator in ("is", "isnot"):
        condition = _is(column, rest.lower(), operator, where)
    else:
        condition = _compare(column, operator, rest, where)
    return Not(condition) if negated else condition


def _from_operator(column: Column, word: str, operand: object, where: str) -> Condition:
    if word == "not" and isinstance(operand, dict):
        inner = _conditions(column, cast("object", operand), where)
        return Not(All(tuple(inner)))
    operator = _operator(column, word, where)
    if operator in ("in", "nin"):
        if not isinstance(operand, list):
            raise words.wrong(where, f"'{operator}' needs a list", _HINT)
        values = cast("list[object]", operand)
        if any(value is None for value in values):
            raise words.wrong(where, "null cannot stand in a list; use 'is'", _HINT)
        return _among(column, tuple(_text(value) for value in values), operator, where)
    if operator in ("is", "isnot"):
        text = "null" if operand is None else _text(operand).lower()
        return _is(column, text, operator, where)
    if operand is None:
        raise words.wrong(where, f"null has no order; use 'is' instead of '{operator}'", _HINT)
    return _compare(column, operator, _operand(column, operand), where)


def _operator(column: Column, word: str, where: str) -> str:
    if word not in _OPERATORS:
        near = words.nearest(word, _OPERATORS)
        raise words.wrong(where, f"unknown operator {words.shown(word)}{near}", _HINT)
    if not _fits(column, word):
        raise words.wrong(where, f"'{word}' cannot be asked of a {column.type} column")
    return word


def _fits(column: Column, word: str) -> bool:
    if word in ("is", "isnot", "like", "ilike"):
        return True
    if word in ("cs", "cd", "ov"):
        parts = column.is_array or not (column.category in _SCALAR or column.base in _OPAQUE)
        return parts and (word != "ov" or column.base != "jsonb")
    return column.base not in words.UNORDERED and not (column.is_array and word in ("in", "nin"))


def _compare(column: Column, operator: str, value: str, where: str) -> Condition:
    if "\x00" in value:
        raise words.wrong(where, "a NUL character cannot be stored, nor compared")
    if operator in _PART_OPERATORS and column.is_array and value.count(",") >= _MAX_ELEMENTS:
        raise words.wrong(where, f"'{operator}' with more than {_MAX_ELEMENTS} elements")
    if operator in ("like", "ilike"):
        # The pattern is matched by a loop that Postgres cannot interrupt.
        if len(value) > _MAX_PATTERN:
            raise words.wrong(where, f"a pattern of more than {_MAX_PATTERN} characters")
        # PostgREST's `*` spares people the escaping of `%` in URLs.
        value = value.replace("*", "%")
    return Compare(column, cast("Operator", operator), value)


def _is(column: Column, text: str, operator: str, where: str) -> Condition:
    if text not in _TRUTHS:
        raise words.wrong(where, f"'{operator}' takes one of " + ", ".join(_TRUTHS))
    if text in ("true", "false", "unknown") and column.base != "boolean":
        raise words.wrong(where, f"'{operator}.{text}' needs a boolean column")
    condition = Is(column, text)
    return Not(condition) if operator == "isnot" else condition


def _among(column: Column, values: tuple[str, ...], operator: str, where: str) -> Condition:
    if len(values) > _MAX_ITEMS:
        raise words.wrong(where, f"more than {_MAX_ITEMS} items")
    condition = Among(column, values)
    return Not(condition) if operator == "nin" else condition


def _items(text: str, where: str) -> tuple[str, ...]:
    """Return the items of `(a,"b,c",d)`; quotes protect commas, a backslash protects anything."""
    if not (text.startswith("(") and text.endswith(")")):
        raise words.wrong(where, "a list in parentheses is needed, such as in.(1,2,3)")
    inner = text[1:-1]
    if not inner:
        return ()
    if len(inner) > _MAX_LIST_BYTES:
        raise words.wrong(where, f"a list of more than {_MAX_LIST_BYTES} characters")
    items: list[str] = []
    place = 0
    while True:
        found = _ITEM.match(inner, place)
        if found is None:
            raise words.wrong(where, "an item of the list is not well quoted")
        quoted, plain = found.groups()
        if len(items) >= _MAX_ITEMS:
            raise words.wrong(where, f"more than {_MAX_ITEMS} items")
        items.append(plain.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted))
        if found.end() == len(inner):
            break
        place = found.end() + 1
    return tuple(items)


def _operand(column: Column, value: object) -> str:
    if column.base in _JSON_TYPES:
        return dumps(value).decode()
    if isinstance(value, list):
        return _array(cast("list[object]", value))
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else dumps(value).decode()


def _array(values: list[object]) -> str:
    """Return the literal of a Postgres array."""
    parts: list[str] = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif isinstance(value, list):
            parts.append(_array(cast("list[object]", value)))
        else:
            text = _text(value).replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{text}"')
    return "{" + ",".join(parts) + "}"
