"""Declares a tool: one typed function whose signature is its schema; it must not call any."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from fluxbase.principal import SCOPES
from fluxbase.toolkit.marks import description_of, marked
from fluxbase.toolkit.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

P = ParamSpec("P")
T = TypeVar("T")

_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
_MARK: Final = "__fluxbase_tool__"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the decorator notes on a function."""

    scopes: tuple[str, ...]
    title: str
    read_only: bool
    destructive: bool
    idempotent: bool
    untrusted: bool
    service: bool
    for_readers: bool
    input_schema: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as it is offered and called."""

    name: str
    title: str
    description: str
    scopes: tuple[str, ...]
    read_only: bool
    destructive: bool
    idempotent: bool
    untrusted: bool
    service: bool
    for_readers: bool
    signature: Signature
    function: Callable[..., Any]
    input_schema: Mapping[str, Any]
    header_params: Mapping[str, str]

    def listing(self) -> dict[str, Any]:
        """Return the entry of `tools/list`."""
        shown: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.read_only,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent or self.read_only,
                "openWorldHint": False,
            },
        }
        if self.signature.output_schema is not None:
            shown["outputSchema"] = self.signature.output_schema
        return shown


def tool(
    *,
    scopes: tuple[str, ...],
    title: str,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    untrusted: bool = False,
    service: bool = False,
    for_readers: bool = False,
    input_schema: Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a function as a tool; it stays an ordinary function.

    Args:
        scopes: any one of them lets a caller use the tool; unknown ones are refused at import.
        title: the name people see.
        read_only: it changes nothing, and may run on a replica.
        destructive: it can overwrite or delete.
        idempotent: calling it twice does what calling it once does.
        untrusted: its text is what users wrote. A result with objects whose members are not
            declared is taken for that without being marked.
        service: it administers, so it is there for service keys alone.
        for_readers: it changes something only when its argument `write` says so, and refuses that
            itself for callers that may only read; they have the tool too.
        input_schema: shown in place of the signature's own, which judges the arguments all the
            same.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ValueError(f"unknown scopes: {', '.join(unknown)}")
    declared = Declared(
        scopes,
        title,
        read_only,
        destructive,
        idempotent,
        untrusted,
        service,
        for_readers,
        input_schema,
    )

    def mark(function: Callable[P, T]) -> Callable[P, T]:
        setattr(function, _MARK, declared)
        return function

    return mark


def tools_of(module: ModuleType) -> list[Tool]:
    """Return the tools that a module declares, in the order they stand there.

    Raises:
        ValueError: a tool has a name that clients refuse, or no docstring.
    """
    found: list[Tool] = []
    for function, declared in marked(module, _MARK):
        name, description = function.__name__, description_of(function)
        if not _NAME.match(name):
            raise ValueError(f"{module.__name__}.{name}: a plain name is needed")
        signature = Signature(function)
        shown = declared.input_schema or signature.input_schema
        found.append(
            Tool(
                name=name,
                title=declared.title,
                description=description,
                scopes=declared.scopes,
                read_only=declared.read_only,
                destructive=declared.destructive,
                idempotent=declared.idempotent,
                untrusted=declared.untrusted or _is_open(signature.output_schema),
                service=declared.service,
                for_readers=declared.for_readers,
                signature=signature,
                function=function,
                input_schema=shown,
                header_params=_header_params(shown),
            )
        )
    return found


def _header_params(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that clients mirror in headers, by the `x-mcp-header` they carry."""
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties", {}))
    return {n: p["x-mcp-header"] for n, p in properties.items() if "x-mcp-header" in p}


def _is_open(schema: object) -> bool:
    """Return whether a schema has room for objects whose members it does not name: rows."""
    if isinstance(schema, list):
        return any(_is_open(item) for item in cast("list[object]", schema))
    if not isinstance(schema, dict):
        return False
    node = cast("dict[str, object]", schema)
    return (node.get("type") == "object" and "properties" not in node) or any(
        _is_open(item) for item in node.values()
    )
