"""Makes parameters of operands, once it is known what they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from fluxbase.grammar.operators import PARTS, PATTERNS, TEXT_SEARCH
from fluxbase.grammar.words import wrong
from fluxbase.strict_json import dumps

if TYPE_CHECKING:
    from fluxbase.db.relation import Column
    from fluxbase.grammar.conditions import Operand
    from fluxbase.grammar.tree import Operator, Quantifier

_MAX_PATTERN: Final = 1000
_MAX_ELEMENTS: Final = 1000
_MAX_SEARCH: Final = 10_000
_JSON_TYPES: Final = frozenset({"json", "jsonb"})


class Binder(NamedTuple):
    """What an operand is compared with, and how."""

    column: Column
    operator: Operator
    quantifier: Quantifier | None = None

    def bind(self, operand: Operand) -> object:
        """Return the value to send for an operand.

        Raises:
            InvalidFilter: the operator does not take it; the message names the place.
        """
        value, where = operand.value, operand.where
        if self.operator == "in":
            items = cast("tuple[object, ...]", value)
            texts = [self._text(v) for v in items] if operand.is_json else items
            return [_without_nul(cast("str", text), where) for text in texts]
        if self.quantifier is not None:
            return self._quantified(operand)
        text = self._text(value) if operand.is_json else cast("str", value)
        return self._checked(text, where)

    def _checked(self, text: str, where: str) -> str:
        if self.operator in PATTERNS:
            # The pattern is matched by a loop that Postgres cannot interrupt.
            if len(text) > _MAX_PATTERN:
                raise wrong(where, f"a pattern of more than {_MAX_PATTERN} characters")
            if self.operator in ("like", "ilike"):
                # PostgREST's `*` spares people the escaping of `%` in URLs.
                text = text.replace("*", "%")
        elif self.operator in TEXT_SEARCH and len(text) > _MAX_SEARCH:
            raise wrong(where, f"a search of more than {_MAX_SEARCH} characters")
        elif self.operator in PARTS and self.column.is_array and text.count(",") >= _MAX_ELEMENTS:
            raise wrong(where, f"'{self.operator}' with more than {_MAX_ELEMENTS} elements")
        return _without_nul(text, where)

    def _quantified(self, operand: Operand) -> str:
        value, where = operand.value, operand.where
        if isinstance(value, str):
            if not (value.startswith("{") and value.endswith("}")):
                raise wrong(where, "a list in braces is needed, such as eq(any).{1,2}")
            if value.count(",") >= _MAX_ELEMENTS:
                raise wrong(where, f"more than {_MAX_ELEMENTS} elements")
            if self.operator in PATTERNS and len(value) > _MAX_PATTERN:
                raise wrong(where, f"patterns of more than {_MAX_PATTERN} characters")
            if self.operator in ("like", "ilike"):
                value = value.replace("*", "%")
            return _without_nul(value, where)
        items = cast("list[object]", value)
        if len(items) > _MAX_ELEMENTS:
            raise wrong(where, f"more than {_MAX_ELEMENTS} elements")
        if any(item is None for item in items):
            raise wrong(where, "null cannot stand in a list; use 'is'")
        return _array([self._checked(self._text(item), where) for item in items])

    def _text(self, value: object) -> str:
        if self.column.base in _JSON_TYPES and self.operator not in PATTERNS:
            # Text stands for itself in a list of PostgREST's, and for JSON text in a JSON value.
            return dumps(value).decode()
        if isinstance(value, list):
            items = cast("list[object]", value)
            if self.column.base.removesuffix("[]") in _JSON_TYPES:
                items = [dumps(item).decode() if item is not None else None for item in items]
            return _array(items)
        return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else dumps(value).decode()


def _without_nul(text: str, where: str) -> str:
    if "\x00" in text:
        raise wrong(where, "a NUL character cannot be stored, nor compared")
    return text


def _array(values: list[object] | list[str]) -> str:
    """Return the literal of a Postgres array."""
    parts: list[str] = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif isinstance(value, list):
            parts.append(_array(cast("list[object]", value)))
        else:
            text = _plain(value).replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{text}"')
    return "{" + ",".join(parts) + "}"
