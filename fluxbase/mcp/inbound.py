"""Judges one decoded message: what it asks, in which era, or why it is refused; pure.

A ladder of checks over the body and the headers gives a `Message` or the first refusal. Only the
transport knows sockets, and only the dispatcher knows methods.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard, cast

from fluxbase.mcp.outline import NAMED
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
_VERSION: Final = "mcp-protocol-version"


class Message(NamedTuple):
    """One request or notification (`is_notification`: nobody waits for an answer)."""

    method: str
    params: Mapping[str, Any]
    id: str | int | None
    is_notification: bool
    version: str
    modern: bool

    @property
    def meta(self) -> Mapping[str, Any]:
        """What a request carries beside its parameters."""
        return _meta(self.params)


class Response(NamedTuple):
    """A client's answer to a request of ours."""

    id: str | int | None
    body: Mapping[str, Any]


def judge(body: object, headers: Mapping[str, str]) -> Message | Response:
    """Return the message in `body`.

    Args:
        body: the decoded JSON of one message.
        headers: `mcp-protocol-version`, `mcp-method`, `mcp-name` as far as they were sent.

    Raises:
        ProtocolError: the message is not JSON-RPC 2.0, or breaks the rules of its version.
    """
    data = _object(body)
    if "result" in data or "error" in data:
        _check_response(data, headers)
        return Response(id_of(data), data)
    request_id, is_notification = _identity(data)
    method = data.get("method")
    if not isinstance(method, str):
        raise ProtocolError(INVALID_REQUEST, "'method' must be a string")
    params = data.get("params")
    if params is None:  # some clients write null where they mean nothing
        params = {}
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "'params' must be an object")
    params = cast("dict[str, Any]", params)
    if is_notification:
        # No version says which headers a notification needs, so only the version is looked at.
        version, modern = _version(headers.get(_VERSION), _named_version(params))
    else:
        version, modern = _agreed_version(params, headers)
        if modern:
            _check_modern(method, params, headers)
    return Message(method, params, request_id, is_notification, version, modern)


def id_of(body: object) -> str | int | None:
    """Return the id to answer a refused message with, when it has a usable one."""
    if not isinstance(body, dict):
        return None
    value = cast("dict[str, object]", body).get("id")
    return value if _is_id(value) else None


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


def _check_response(data: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    if "method" in data:
        raise ProtocolError(INVALID_REQUEST, "a message is a request or a response, not both")
    if headers.get(_VERSION) in MODERN:
        raise ProtocolError(INVALID_REQUEST, "clients of this version send no responses")


def _meta(params: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = params.get("_meta")
    return cast("dict[str, Any]", meta) if isinstance(meta, dict) else {}


def _named_version(params: Mapping[str, Any]) -> str | None:
    named = _meta(params).get(META + "protocolVersion")
    if named is not None and not isinstance(named, str):
        raise ProtocolError(INVALID_PARAMS, f"{META}protocolVersion must be a string")
    return named


def _agreed_version(params: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[str, bool]:
    """Return the version of a request, on which its body and its header have to agree."""
    named = _named_version(params) if "_meta" in params else None
    header = headers.get(_VERSION)
    if named is not None and (header is not None or named not in LEGACY):
        _match("MCP-Protocol-Version", header, named)
    return _version(header, named)


def _version(header: str | None, named: str | None) -> tuple[str, bool]:
    """Return the version spoken and whether it is of the modern era.

    Raises:
        ProtocolError: the version is not supported.
    """
    spoken = header if header is not None else named
    if spoken is None:
        return ASSUMED, False
    if spoken not in SUPPORTED:
        # Who names a version in the message itself speaks the modern way.
        supported = SUPPORTED if named is None else MODERN
        raise ProtocolError(
            UNSUPPORTED_VERSION,
            "this protocol version is not supported",
            data={"supported": list(supported), "requested": spoken[:32]},
        )
    return spoken, spoken in MODERN


def _check_modern(method: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    meta = _meta(params)
    if META + "protocolVersion" not in meta:
        raise ProtocolError(INVALID_PARAMS, f"'_meta' must name {META}protocolVersion")
    if not isinstance(meta.get(META + "clientCapabilities"), dict):
        raise ProtocolError(INVALID_PARAMS, f"'_meta' must carry {META}clientCapabilities")
    _match("Mcp-Method", headers.get("mcp-method"), method)
    if method in NAMED:
        value, header = params.get(NAMED[method]), headers.get("mcp-name")
        # Neither there: the method itself says better what is missing.
        if value is not None or header is not None:
            _match("Mcp-Name", decoded(header), value)


def _match(name: str, header: str | None, value: object) -> None:
    if header is None:
        raise ProtocolError(HEADER_MISMATCH, f"the header {name} is missing or malformed")
    if header != value:
        raise ProtocolError(HEADER_MISMATCH, f"the header {name} differs from the body")


def decoded(header: str | None) -> str | None:
    """Return a header's text; what ASCII cannot carry comes as `=?base64?…?=`.

    Source: MCP 2026-07-28, Streamable HTTP, value encoding.
    """
    if header is None or not (header.isascii() and header.isprintable()):
        return None
    if not (header.startswith("=?base64?") and header.endswith("?=") and len(header) >= 11):
        return header
    try:
        decoded = base64.b64decode(header[9:-2], validate=True)
        # Base64 of one text can be written in several ways; whoever reads it another way on the
        # route would see another value.
        return decoded.decode() if base64.b64encode(decoded).decode() == header[9:-2] else None
    except (binascii.Error, ValueError):
        return None
