"""Requests of the modern era, and the judgement of the official schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.shared.inbound import encode_header_value
from mcp_types.methods import validate_server_result

from fluxbase.mcp.wire import META, MODERN

if TYPE_CHECKING:
    import httpx2

    from tests.world import Caller

NOW = MODERN[-1]
NAMED = {"tools/call": "name", "resources/read": "uri"}


def envelope(version: str = NOW) -> dict[str, Any]:
    return {
        META + "protocolVersion": version,
        META + "clientCapabilities": {},
        META + "clientInfo": {"name": "test", "version": "1"},
    }


def headers_of(method: str, params: dict[str, Any], version: str = NOW) -> dict[str, str]:
    sent = {"MCP_Protocol_Version": version, "Mcp_Method": method}
    if method in NAMED:
        sent["Mcp_Name"] = encode_header_value(str(params.get(NAMED[method])))
    return sent


async def post(
    caller: Caller, method: str, *, sent: dict[str, str | None] | None = None, **params: Any
) -> httpx2.Response:
    """Send one modern request; `sent` replaces headers, `None` leaves one out."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {"_meta": envelope(), **params},
    }
    merged = {**headers_of(method, params), **(sent or {})}
    return await caller.post(body, **{k: v for k, v in merged.items() if v is not None})


async def result_of(caller: Caller, method: str, **params: Any) -> dict[str, Any]:
    """Return a modern result that the official schema accepts."""
    answer = await post(caller, method, **params)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    validate_server_result(method, NOW, result)
    assert result["resultType"] == "complete"
    assert result["_meta"][META + "serverInfo"]["name"] == "fluxbase"
    return result
