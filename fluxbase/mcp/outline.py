"""What a decoded message says at first sight, well formed or not; it must not judge it."""

from __future__ import annotations

from typing import Any, Final, cast

from fluxbase.mcp.wire import META, MODERN, header_text

# Which parameter of a method the modern transport repeats in the header Mcp-Name.
NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def member(body: object, name: str) -> Any:
    """Return a member of an object; `None` where there is no such thing."""
    return cast("dict[str, Any]", body).get(name) if isinstance(body, dict) else None


def method_of(body: object) -> str:
    """Return the method that is asked for; an empty text where none is."""
    method = member(body, "method")
    return method if isinstance(method, str) else ""


def headers_of(body: object) -> dict[str, str]:
    """Return what a message of the modern era has to say in headers as well, by lower names.

    Source: MCP 2026-07-28, Streamable HTTP, standard headers.
    """
    params, method = member(body, "params"), method_of(body)
    version = member(member(params, "_meta"), META + "protocolVersion")
    if not method or not isinstance(version, str) or version not in MODERN:
        return {}
    headers = {"mcp-protocol-version": version, "mcp-method": method}
    name = member(params, NAMED.get(method, ""))
    if isinstance(name, str):
        headers["mcp-name"] = header_text(name)
    return headers
