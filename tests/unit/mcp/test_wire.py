"""Codes of both eras, and how answers are written."""

from __future__ import annotations

import json

import pytest
from mcp_types.jsonrpc import JSONRPCError, JSONRPCResponse

from fluxbase import errors
from fluxbase.mcp import wire

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FluxbaseError)
]
LEGACY: dict[type[errors.FluxbaseError], int] = {
    errors.UnknownResource: -32002,
    errors.UnknownTool: -32003,
    errors.ConstraintViolation: -32004,
    errors.DeadlineExceeded: -32004,
    errors.Unavailable: -32004,
    errors.Unauthenticated: -32005,
    errors.Forbidden: -32006,
    errors.RateLimited: -32007,
    errors.UnknownMethod: -32601,
    errors.InvalidFilter: -32602,
    errors.InternalError: -32603,
}


@pytest.mark.parametrize("kind", LEGACY)
def test_the_legacy_era_has_the_codes_of_the_original(kind: type[errors.FluxbaseError]) -> None:
    assert wire.code_of(kind(), modern=False) == LEGACY[kind]


@pytest.mark.parametrize("kind", ALL)
def test_the_modern_era_has_none_of_the_retired_codes(kind: type[errors.FluxbaseError]) -> None:
    code = wire.code_of(kind(), modern=True)
    assert code in (-32700, -32600, -32601, -32602, -32603)


@pytest.mark.parametrize("kind", ALL)
def test_a_failure_is_an_error_response_with_our_own_code(
    kind: type[errors.FluxbaseError],
) -> None:
    for request_id in (None, 7, "seven"):
        written = wire.failure(kind(hint="try again"), request_id)
        parsed = JSONRPCError.model_validate_json(written)
        assert parsed.id == request_id
        assert parsed.error.data["code"] == kind.code
        assert parsed.error.data["hint"] == "try again"
        assert "message" not in parsed.error.data


def test_a_modern_result_is_complete_and_stamped() -> None:
    written = wire.success(1, {"tools": [], "_meta": {"fluxbase/x": 1}}, modern=True)
    result = JSONRPCResponse.model_validate_json(written).result
    assert result["resultType"] == "complete"
    assert result["_meta"] == {"fluxbase/x": 1, wire.META + "serverInfo": wire.SERVER_INFO}


def test_a_legacy_result_is_bare() -> None:
    assert json.loads(wire.success("a", {}, modern=False)) == {
        "jsonrpc": "2.0",
        "id": "a",
        "result": {},
    }


def test_a_failed_tool_says_what_and_what_to_do() -> None:
    result = wire.tool_failure(errors.UnknownTable("no such table", hint="list_tables"))
    assert result["isError"] is True
    assert result["content"][0]["text"] == "FLX201: no such table\nHint: list_tables"
    assert result["_meta"]["fluxbase/error"]["code"] == "FLX201"
