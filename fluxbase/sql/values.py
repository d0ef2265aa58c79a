"""Gives each parameter of a statement the type that its JSON value has; it must not judge anything.

Values travel beside the statement, as text that Postgres casts: a string is text, a whole number a
bigint, another number numeric, a list of one of these an array, and all else jsonb. Whoever wants
another type casts it: `$1::uuid`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from sqlglot import exp

from fluxbase.errors import InvalidArgument
from fluxbase.strict_json import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

_BIGINT: Final = 2**63


def bind(tree: exp.Expr, params: Sequence[object]) -> list[Any]:
    """Cast every parameter in the tree, and return the values as Postgres takes them.

    Raises:
        InvalidArgument: there are more or fewer values than parameters.
    """
    used: set[int] = set()
    kinds = [_kind(value) for value in params]
    for node in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        text = node.name
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= len(params):
            raise InvalidArgument(
                f"params: {len(params)} values are given, and the statement names another one",
                hint="write $1 for the first value, $2 for the second",
            )
        used.add(int(text))
        kind = kinds[int(text) - 1]
        wire = _cast(exp.Parameter(this=exp.Literal.number(int(text))), _wire(kind))
        node.replace(wire if kind in ("text", "text[]") else _cast(wire, kind))
    if used != set(range(1, len(params) + 1)):
        raise InvalidArgument("params: a value is given that the statement does not use")
    return [_written(value, kind) for value, kind in zip(params, kinds, strict=True)]


def _cast(inner: exp.Expr, kind: str) -> exp.Cast:
    return exp.Cast(this=inner, to=exp.DataType.build(kind, dialect="postgres"))


def _kind(value: object) -> str:
    if isinstance(value, list):
        items = cast("list[object]", value)
        kinds = {_scalar(item) for item in items if item is not None}
        if kinds == {"bigint", "numeric"}:
            return "numeric[]"
        return f"{kinds.pop()}[]" if len(kinds) == 1 and "jsonb" not in kinds else "jsonb"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "bigint" if -_BIGINT <= value < _BIGINT else "numeric"
    return "numeric" if isinstance(value, float | Decimal) else "jsonb"


def _wire(kind: str) -> str:
    return "text[]" if kind.endswith("[]") else "text"


def _written(value: Any, kind: str) -> Any:
    if kind.endswith("[]"):
        return [None if item is None else _text(item) for item in value]
    return None if value is None else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Decimal):
        return str(value)
    return dumps(value).decode()
