"""The protocol's words: versions, codes, and how results and errors are written; no logic.

Sources: JSON-RPC 2.0; MCP 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase import __version__
from fluxbase.errors import (
    Cancelled,
    DeadlineExceeded,
    FluxbaseError,
    Forbidden,
    InternalError,
    InvalidArgument,
    InvalidMessage,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMethod,
    UnknownPrompt,
    UnknownResource,
    UnknownTool,
)
from fluxbase.toolkit.client import MissingCapability

if TYPE_CHECKING:
    from collections.abc import Mapping

LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_LINKLESS: Final = LEGACY[:2]  # the versions before `resource_link`
MODERN: Final = ("2026-07-28",)
SUPPORTED: Final = (*LEGACY, *MODERN)
BATCHES: Final = "2025-03-26"
PRIMED: Final = "2025-11-25"  # from here on a stream may begin with an event that is only an id
ASSUMED: Final = "2025-03-26"  # what a legacy client speaks that sends no version header

META: Final = "io.modelcontextprotocol/"
SERVER_INFO: Final[dict[str, str]] = {"name": "fluxbase", "version": __version__}

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

# The codes of the original, in the legacy era.
RESOURCE_NOT_FOUND: Final = -32002
TOOL_NOT_FOUND: Final = -32003
EXECUTION_FAILED: Final = -32004
UNAUTHENTICATED: Final = -32005
FORBIDDEN: Final = -32006
RATE_LIMITED: Final = -32007

_LEGACY_CODES: Final[dict[type[FluxbaseError], int]] = {
    InvalidMessage: INVALID_REQUEST,
    InvalidArgument: INVALID_PARAMS,
    TooLarge: INVALID_REQUEST,
    UnknownMethod: METHOD_NOT_FOUND,
    UnknownPrompt: INVALID_PARAMS,
    UnknownResource: RESOURCE_NOT_FOUND,
    UnknownTool: TOOL_NOT_FOUND,
    Unauthenticated: UNAUTHENTICATED,
    Forbidden: FORBIDDEN,
    RateLimited: RATE_LIMITED,
    Unavailable: EXECUTION_FAILED,
    DeadlineExceeded: EXECUTION_FAILED,
    Cancelled: EXECUTION_FAILED,
    InternalError: INTERNAL_ERROR,
}
# The modern era forbids -32002 and wants nothing new from -32000 to -32019; `data.code` tells more.
_MODERN_CODES: Final[dict[type[FluxbaseError], int]] = {
    **_LEGACY_CODES,
    UnknownResource: INVALID_PARAMS,
    UnknownTool: INVALID_PARAMS,
    Unauthenticated: INVALID_REQUEST,
    Forbidden: INVALID_REQUEST,
    RateLimited: INVALID_REQUEST,
    Unavailable: INTERNAL_ERROR,
    DeadlineExceeded: INTERNAL_ERROR,
    Cancelled: INTERNAL_ERROR,
    MissingCapability: MISSING_CAPABILITY,
}


class ProtocolError(FluxbaseError):
    """A message that the protocol refuses with a code of its own and, in HTTP, a status."""

    code, title, status = "FLX100", "The message breaks the protocol", 400

    def __init__(self, rpc_code: int, message: str, *, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.http_status = status
        self.data = data


def code_of(error: FluxbaseError, *, modern: bool) -> int:
    """Return the JSON-RPC code of an error in one of the two eras."""
    if isinstance(error, ProtocolError):
        return error.rpc_code
    codes = _MODERN_CODES if modern else _LEGACY_CODES
    for kind in type(error).__mro__:
        if kind in codes:
            return codes[kind]
    return INTERNAL_ERROR if modern else EXECUTION_FAILED


def error_object(error: FluxbaseError, *, modern: bool = False) -> dict[str, Any]:
    """Return the `error` member: code, message, and our own code and hint as `data`."""
    data: dict[str, Any] = {k: v for k, v in error.as_dict().items() if k != "message"}
    if isinstance(error, ProtocolError) and error.data is not None:
        data.update(error.data)
    if modern and isinstance(error, UnknownResource) and error.uri is not None:
        data["uri"] = error.uri
    if isinstance(error, MissingCapability):
        data["requiredCapabilities"] = {name: {} for name in error.capabilities}
    return {"code": code_of(error, modern=modern), "message": error.message, "data": data}


def header_text(text: str) -> str:
    """Return a text as a header carries it: what ASCII cannot say as `=?base64?…?=`.

    Source: MCP 2026-07-28, Streamable HTTP, value encoding.
    """
    plain = text.isascii() and text.isprintable() and text == text.strip()
    if plain and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def failure(error: FluxbaseError, request_id: object = None, *, modern: bool = False) -> bytes:
    """Return an error response."""
    return orjson.dumps(
        {"jsonrpc": "2.0", "id": request_id, "error": error_object(error, modern=modern)}
    )


def success(request_id: object, result: Mapping[str, Any], *, modern: bool) -> bytes:
    """Return a result response; a modern one says that it is complete and who answers."""
    if modern:
        meta = {META + "serverInfo": SERVER_INFO, **result.get("_meta", {})}
        result = {"resultType": "complete", **result, "_meta": meta}
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def tool_result(
    text: str, structured: bytes, more: dict[str, str] | None = None, *, version: str = ""
) -> dict[str, Any]:
    """Return the result of a tool that did its work; its JSON is spliced in unread.

    `more` points to a resource (`uri`, `name`, `description`) with the rest of it; versions that
    have no links say it in words.
    """
    content: list[dict[str, str]] = [{"type": "text", "text": text}]
    if more is not None and version in _LINKLESS:
        content.append({"type": "text", "text": f"{more['description']} Read {more['uri']}"})
    elif more is not None:
        content.append({"type": "resource_link", "mimeType": "application/json", **more})
    return {
        "content": content,
        "isError": False,
        "structuredContent": orjson.Fragment(structured),
    }


def tool_failure(error: FluxbaseError) -> dict[str, Any]:
    """Return the result of a tool that refused or failed, in words a model can act on."""
    text = f"{error.code}: {error.message}"
    if error.hint:
        text += f"\nHint: {error.hint}"
    return {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": {"fluxbase/error": error.as_dict()},
    }
