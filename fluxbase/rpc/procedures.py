"""What is published, for whom, and with which parameters; it must not call anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.config.model import is_closed
from fluxbase.errors import Forbidden, InvalidArgument, UnknownProcedure
from fluxbase.toolkit.audience import admitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

# JSON Schema of what Postgres takes from JSON; everything else is written as a text.
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "int2": {"type": "integer"}, "int4": {"type": "integer"}, "int8": {"type": "integer"},
    "float4": {"type": "number"}, "float8": {"type": "number"}, "numeric": {"type": "number"},
    "bool": {"type": "boolean"}, "json": {}, "jsonb": {},
    "uuid": {"type": "string", "format": "uuid"}, "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
}  # fmt: skip
_INPUTS: Final = ("i", "b", "v")
_OUTPUTS: Final = ("o", "b", "t")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function, or a column of what it returns."""

    name: str
    type: str
    cast: str
    base: str
    is_array: bool
    category: str
    mode: str
    named: bool
    values: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema, with Postgres' own name of the type."""
        if self.values:
            one: dict[str, Any] = {"type": "string", "enum": list(self.values)}
        elif self.category == "C":
            one = {"type": "object"}
        else:
            one = dict(_SCHEMAS.get(self.base, {"type": "string"}))
        found = {"type": "array", "items": one} if self.is_array else one
        return {**found, "description": self.type}


@dataclass(frozen=True, slots=True)
class Procedure:
    """A published function."""

    namespace: str
    name: str
    schema: str
    function: str
    comment: str | None
    parameters: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    needed: int  # of its parameters, the first ones; the others have defaults
    result_type: str
    returns_set: bool
    public: bool
    roles: frozenset[str]
    scopes: frozenset[str]
    timeout: float
    max_rows: int
    read_only: bool
    cache_seconds: float
    version: str  # another one once it or its function is changed

    @property
    def full_name(self) -> str:
        """Return `namespace.name`."""
        return f"{self.namespace}.{self.name}"

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of `params`."""
        required = [p.name for p in self.parameters[: self.needed] if p.mode != "v"]
        return {
            "type": "object",
            "properties": {p.name: p.schema() for p in self.parameters},
            "required": required,
            "additionalProperties": False,
        }

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of `data`."""
        if self.result_type == "void":
            one: dict[str, Any] = {"type": "null"}
        elif len(self.outputs) > 1 or any(p.mode == "t" for p in self.outputs):
            one = {"type": "object", "properties": {p.name: p.schema() for p in self.outputs}}
        else:
            one = {"description": self.result_type}
        return {"type": "array", "items": one} if self.returns_set else one


async def visible(
    ctx: Context, namespace: str | None = None, name: str | None = None
) -> list[Procedure]:
    """Return the procedures that the caller may call."""
    rows = await ctx.database.admin("load_procedures", namespace=namespace, name=name)
    found = await admitted(ctx, map(_procedure, rows))
    return [p for p in found if p.read_only or not ctx.who.read_only]


async def find(ctx: Context, namespace: str, name: str) -> Procedure:
    """Return one procedure.

    Raises:
        UnknownProcedure: there is none of that name for the caller.
    """
    for found in await visible(ctx, namespace, name):
        return found
    raise UnknownProcedure(hint="list_rpc shows the procedures this key may call")


async def published(ctx: Context, namespace: str, name: str) -> Procedure:
    """Return one procedure, whoever may call it.

    Raises:
        UnknownProcedure: there is none of that name.
    """
    rows = await ctx.database.admin("load_procedures", namespace=namespace, name=name)
    if not rows:
        raise UnknownProcedure(hint="list_rpc shows those there are")
    return _procedure(rows[0])


def publishable(found: Sequence[Record]) -> str:
    """Return the whole name of a function that was looked up, if it may be published.

    Raises:
        InvalidArgument: there is none, or it cannot be called by its parameters alone.
        Forbidden: it is the server's or Postgres' own.
    """
    if not found:
        raise InvalidArgument(
            "function: there is none of this name with these types", hint="schema.name(type, type)"
        )
    if found[0]["fault"] is not None:
        raise InvalidArgument(f"function: {found[0]['fault']}")
    if is_closed(found[0]["schema"]):
        raise Forbidden("function: those of the server and of Postgres are not published")
    return found[0]["function"]


def _procedure(row: Record) -> Procedure:
    arguments = [_parameter(item) for item in orjson.loads(row["arguments"])]
    return Procedure(
        namespace=row["namespace"],
        name=row["name"],
        schema=row["schema"],
        function=row["function"],
        comment=row["comment"],
        parameters=tuple(a for a in arguments if a.mode in _INPUTS),
        outputs=tuple(a for a in arguments if a.mode in _OUTPUTS),
        needed=row["needed"],
        result_type=row["result_type"],
        returns_set=row["returns_set"],
        public=row["public"],
        roles=frozenset(row["required_roles"]),
        scopes=frozenset(row["required_scopes"]),
        timeout=row["timeout_seconds"],
        max_rows=row["max_rows"],
        read_only=row["read_only"],
        cache_seconds=row["cache_seconds"],
        version=row["version"],
    )


def _parameter(item: dict[str, Any]) -> Parameter:
    known: dict[str, Any] = {**item, "values": tuple(item["values"] or ())}
    return Parameter(**known)
