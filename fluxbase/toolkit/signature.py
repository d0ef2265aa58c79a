"""Reads a function's signature as JSON Schema and checks arguments by it; knows no tool.

Arguments become a dataclass rather than a pydantic model, because a model refuses fields called
`schema`, `json` or `copy`, the commonest names of a database tool.
"""

from __future__ import annotations

import inspect
from dataclasses import field, make_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from fluxbase.errors import InvalidArgument
from fluxbase.toolkit.content import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONFIG: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
_SHOWN: Final = 64


class Signature:
    """The arguments of one function after its first (the context), and what it returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        fields: list[Any] = []
        for parameter in parameters:
            kind = hints[parameter.name]
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, kind))
            else:
                fields.append((parameter.name, kind, field(default=parameter.default)))
        model = make_dataclass("Arguments", fields, kw_only=True)
        model.__pydantic_config__ = _CONFIG  # type: ignore[attr-defined]
        self.names = tuple(_called(parameter.name, hints) for parameter in parameters)
        adapter: TypeAdapter[Any] = TypeAdapter(model)
        self._validate: Callable[[object], object] = adapter.validator.validate_python
        self.input_schema = _tidy(adapter.json_schema())
        self.output_schema = _output(hints.get("return"))

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with their defaults.

        Raises:
            InvalidArgument: one is unknown, missing or wrong; the message names each.
        """
        try:
            return vars(self._validate(arguments))  # of an object that nobody else has
        except ValidationError as error:
            raise InvalidArgument("; ".join(self._explain(error))) from None

    def _explain(self, error: ValidationError) -> list[str]:
        reasons: list[str] = []
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            first, *rest = detail["loc"] or ("arguments",)
            # Branches of a union add words that are no names; only what a caller wrote is shown.
            shown = [p for p in rest if isinstance(p, int) or p.isidentifier()]
            name = ".".join(_safe(part) for part in (first, *shown))
            if detail["type"] == "unexpected_keyword_argument":
                close = get_close_matches(name, self.names, n=1)
                known = (
                    f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(self.names)
                )
                reasons.append(f"unknown argument '{name}'; {known}")
            elif detail["type"] in ("missing", "missing_keyword_only_argument"):
                reasons.append(f"'{name}' is required")
            else:
                reasons.append(f"'{name}': {_message(detail['msg'])}")
        return list(dict.fromkeys(reasons))


def _called(name: str, hints: Mapping[str, Any]) -> str:
    """Return the name that callers use: an alias, where Python keeps the name for itself."""
    for note in getattr(hints[name], "__metadata__", ()):
        if isinstance(note, FieldInfo) and note.alias is not None:
            return note.alias
    return name


def _message(text: str) -> str:
    text = text.removeprefix("Value error, ").removeprefix("Input ")
    return text[0].lower() + text[1:]


def _safe(part: object) -> str:
    text = str(part)[:_SHOWN]
    return text if text.isprintable() else "(unprintable)"


def _output(kind: Any) -> dict[str, Any] | None:
    if kind is None or kind is Blocks:
        return None
    schema = _tidy(TypeAdapter(kind).json_schema(mode="serialization"))
    return schema if schema.get("type") == "object" else None


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the generated titles, which cost a model tokens and tell it nothing."""

    def clean(node: Any, *, named: bool = False) -> Any:
        if isinstance(node, dict):
            items = cast("dict[str, Any]", node)
            return {
                key: clean(value, named=key in ("properties", "$defs") and not named)
                for key, value in items.items()
                if named or key != "title"
            }
        if isinstance(node, list):
            return [clean(item) for item in cast("list[Any]", node)]
        return node

    tidy: dict[str, Any] = clean(schema)
    tidy.pop("description", None)
    return tidy
