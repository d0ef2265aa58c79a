"""JSON text that is passed on unread: Postgres wrote it, so nobody here parses it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler


class JsonRows(str):
    """The text of a JSON array of objects; as part of a result it is spliced in as JSON."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic make schemas of results that hold it."""
        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say what the text holds."""
        return {"type": "array", "items": {"type": "object"}}


class JsonValue(JsonRows):
    """The text of any JSON value; as part of a result it is spliced in as JSON."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say that it may be anything."""
        return {}


def write(result: object) -> bytes:
    """Return a tool's result as JSON, with every `JsonRows` in it spliced in."""
    return orjson.dumps(result, default=_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def spliced(text: JsonRows) -> orjson.Fragment:
    """Return the text as a part of a result; `write` finds by itself what is not wrapped so."""
    return orjson.Fragment(str(text))


def _default(value: object) -> orjson.Fragment:
    if isinstance(value, JsonRows):
        return spliced(value)
    raise TypeError(f"a result cannot hold {type(value).__name__}")
