"""Describes the tools of a caller as an OpenAPI document; it must not know how one is served.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from fluxbase import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbase.toolkit.tool import Tool

_DEFS: Final = "#/$defs/"
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "FLX and three digits"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "retry_after": {"type": "integer", "description": "Seconds"},
            },
        }
    },
}
_REFUSED: Final = {
    "description": "The call was refused",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_KEYS: Final = {
    "clientKey": {"type": "apiKey", "in": "header", "name": "X-Client-Key"},
    "serviceKey": {"type": "apiKey", "in": "header", "name": "X-Service-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def openapi(tools: Iterable[Tool], base: str) -> dict[str, Any]:
    """Return the document: one POST for each tool below `base`, such as `/mcp/tools`."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths = {f"/{tool.name}": {"post": _operation(tool, schemas)} for tool in tools}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fluxbase tools", "version": __version__},
        "servers": [{"url": base}],
        "security": [{name: []} for name in _KEYS],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _KEYS},
    }


def _operation(tool: Tool, schemas: dict[str, Any]) -> dict[str, Any]:
    asked = _shared(tool.input_schema, f"{tool.name}.arguments", schemas)
    given = _shared(tool.signature.output_schema or {}, f"{tool.name}.result", schemas)
    return {
        "operationId": tool.name,
        "summary": tool.title,
        "description": tool.description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {
            "200": {
                "description": "What the tool returned",
                "content": {"application/json": {"schema": given}},
            },
            "default": _REFUSED,
        },
    }


def _shared(schema: Mapping[str, Any], prefix: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose definitions were moved to the `schemas` of the document."""

    def moved(node: Any) -> Any:
        if isinstance(node, list):
            return [moved(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        items = cast("dict[str, Any]", node)
        found = {name: moved(value) for name, value in items.items()}
        reference = found.get("$ref")
        if isinstance(reference, str) and reference.startswith(_DEFS):
            name = reference.removeprefix(_DEFS)
            found["$ref"] = f"#/components/schemas/{prefix}.{name}"
        return found

    whole: dict[str, Any] = moved(dict(schema))
    for name, definition in whole.pop("$defs", {}).items():
        schemas[f"{prefix}.{name}"] = definition
    return whole
