"""Judges one decoded message: what it asks, in which era, or why it is refused; pure.

A ladder of checks over the body and the headers gives a `Message` or the first refusal. Only the
transport knows sockets, and only the dispatcher knows methods.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from fluxbase.mcp.wire import (
    ASSUMED,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY,
    META,
    MODERN,
    SUPPORTED,
    UNSUPPORTED_VERSION,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ID: Final = 128
_MAX_INT: Final = 2**53 - 1
_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


@dataclass(frozen=True, slots=True)
class Message:
    """One request or notification (`is_notification`: nobody waits for an answer)."""

    method: str
    params: Mapping[str, Any]
    id: str | int | None
    is_notification: bool
    version: str
    modern: bool


def judge(body: object, headers: Mapping[str, str]) -> Message | None:
    """Return the message in `body`, or `None` for a response that a client sent.

    Args:
        body: the decoded JSON of one message.
        headers: `mcp-protocol-version`, `mcp-method`, `mcp-name` as far as they were sent.

    Raises:
        ProtocolError: the message is not JSON-RPC 2.0, or breaks the rules of its version.
    """
    data = _object(body)
    request_id, is_notification = _identity(data)
    if "method" not in data and ("result" in data or "error" in data):
        return None
    method = data.get("method")
    if not isinstance(method, str):
        raise ProtocolError(INVALID_REQUEST, "'method' must be a string")
    params = data.get("params", {})
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "'params' must be an object")
    params = cast("dict[str, Any]", params)
    version, modern = _version(params, headers)
    if modern and not is_notification:
        _check_modern(method, params, headers, version)
    return Message(method, params, request_id, is_notification, version, modern)


def id_of(body: object) -> str | int | None:
    """Return the id to answer a refused message with, when it has a usable one."""
    if not isinstance(body, dict):
        return None
    value = cast("dict[str, object]", body).get("id")
    return value if _is_id(value) else None


def is_modern(body: object, headers: Mapping[str, str]) -> bool:
    """Return whether a message, even a refused one, speaks the modern era."""
    params = cast("dict[str, object]", body).get("params") if isinstance(body, dict) else None
    named = _named_version(cast("dict[str, Any]", params) if isinstance(params, dict) else {})
    header = headers.get("mcp-protocol-version")
    return named is not None or (header is not None and header not in LEGACY)


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ProtocolError(INVALID_REQUEST, "a JSON-RPC message is an object")
    data = cast("dict[str, Any]", body)
    if data.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, "'jsonrpc' must be \"2.0\"")
    if not data.keys() <= _MEMBERS:
        raise ProtocolError(INVALID_REQUEST, "the message has members that JSON-RPC does not know")
    return data


def _identity(data: Mapping[str, Any]) -> tuple[str | int | None, bool]:
    if "id" not in data:
        return None, True
    value = data["id"]
    if not _is_id(value):
        raise ProtocolError(
            INVALID_REQUEST, f"'id' must be a string of at most {_MAX_ID} characters or an integer"
        )
    return value, False


def _is_id(value: object) -> TypeGuard[str | int]:
    if isinstance(value, str):
        return len(value) <= _MAX_ID
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INT


def _named_version(params: Mapping[str, Any]) -> str | None:
    meta = params.get("_meta")
    named = (
        cast("dict[str, Any]", meta).get(META + "protocolVersion")
        if isinstance(meta, dict)
        else None
    )
    return named if isinstance(named, str) else None


def _version(params: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[str, bool]:
    """Return the version spoken and whether it is of the modern era.

    Raises:
        ProtocolError: the version is not supported.
    """
    named, header = _named_version(params), headers.get("mcp-protocol-version")
    spoken = named if named is not None else header
    if spoken is None:
        return ASSUMED, False
    if spoken in LEGACY and named is None:
        return spoken, False
    if spoken not in MODERN:
        raise ProtocolError(
            UNSUPPORTED_VERSION,
            "this protocol version is not supported",
            data={"supported": list(SUPPORTED), "requested": spoken[:32]},
        )
    return spoken, True


def _check_modern(
    method: str, params: Mapping[str, Any], headers: Mapping[str, str], version: str
) -> None:
    meta = cast(
        "Mapping[str, Any]", params.get("_meta") if isinstance(params.get("_meta"), dict) else {}
    )
    if META + "protocolVersion" not in meta:
        raise ProtocolError(INVALID_PARAMS, f"'_meta' must name {META}protocolVersion")
    if not isinstance(meta.get(META + "clientCapabilities"), dict):
        raise ProtocolError(INVALID_PARAMS, f"'_meta' must carry {META}clientCapabilities")
    _match("MCP-Protocol-Version", headers.get("mcp-protocol-version"), version)
    _match("Mcp-Method", headers.get("mcp-method"), method)
    if method in _NAMED:
        _match("Mcp-Name", headers.get("mcp-name"), params.get(_NAMED[method]))


def _match(name: str, header: str | None, value: object) -> None:
    if header is None:
        raise ProtocolError(HEADER_MISMATCH, f"the header {name} is missing")
    if _decoded(header) != value:
        raise ProtocolError(HEADER_MISMATCH, f"the header {name} differs from the body")


def _decoded(header: str) -> str | None:
    """Return a header's text; what ASCII cannot carry comes as `=?base64?…?=`."""
    if not (header.startswith("=?base64?") and header.endswith("?=")):
        return header
    try:
        return base64.b64decode(header[9:-2], validate=True).decode()
    except (binascii.Error, ValueError):
        return None
