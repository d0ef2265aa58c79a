"""The modern era: every request stands alone, and headers say what the body says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.mcp.wire import MODERN
from tests.integration.mcp.modern import NOW, envelope, post, result_of

if TYPE_CHECKING:
    from tests.world import Caller

QUERY = {"name": "query_table", "arguments": {"table": "notes", "limit": 1}}


async def test_discovery_names_the_version_and_may_be_kept_for_this_caller_only(
    user1: Caller,
) -> None:
    found = await result_of(user1, "server/discover")
    assert found["supportedVersions"] == list(MODERN)
    assert found["capabilities"]["tools"] == {"listChanged": True}
    assert found["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}
    assert found["instructions"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("server/discover", {}),
        ("tools/list", {}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "fluxbase://schema/tables"}),
    ],
)
async def test_what_may_be_kept_says_how_long_and_by_whom(
    user1: Caller, method: str, params: dict[str, Any]
) -> None:
    result = await result_of(user1, method, **params)
    assert (result["ttlMs"], result["cacheScope"]) == (5000, "private")


async def test_a_call_is_not_to_be_kept(user1: Caller) -> None:
    result = await result_of(user1, "tools/call", **QUERY)
    assert result["isError"] is False
    assert len(result["structuredContent"]["rows"]) == 1
    assert "ttlMs" not in result


async def test_a_failed_call_is_a_complete_result(user1: Caller) -> None:
    result = await result_of(user1, "tools/call", name="query_table", arguments={"table": "no"})
    assert result["isError"] is True
    assert result["content"][0]["text"].startswith("FLX201")
    assert result["_meta"]["fluxbase/error"]["code"] == "FLX201"


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "resources/templates",
        "logging/setLevel",
        "resources/subscribe",
        "no/such",
    ],
)
async def test_methods_that_this_era_or_server_lacks_are_404(user1: Caller, method: str) -> None:
    answer = await post(user1, method)
    assert answer.status_code == 404
    assert answer.json()["id"] == 1
    assert answer.json()["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "no_such_tool"}),
        ("tools/call", {"name": "query_table", "arguments": []}),
        ("resources/read", {"uri": "fluxbase://no/such"}),
        ("tools/list", {"cursor": "made up"}),
    ],
)
async def test_what_is_not_there_is_an_invalid_parameter(
    user1: Caller, method: str, params: dict[str, Any]
) -> None:
    answer = await post(user1, method, **params)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32602


async def test_a_call_without_a_name_is_an_invalid_parameter(user1: Caller) -> None:
    answer = await post(user1, "tools/call", sent={"Mcp_Name": None})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize(
    "sent",
    [
        {"MCP_Protocol_Version": None},
        {"MCP_Protocol_Version": "2025-11-25"},
        {"Mcp_Method": None},
        {"Mcp_Method": "tools/list"},
        {"Mcp_Name": None},
        {"Mcp_Name": "delete_record"},
    ],
)
async def test_a_header_that_is_missing_or_differs_is_refused(
    user1: Caller, sent: dict[str, str | None]
) -> None:
    answer = await post(user1, "tools/call", sent=sent, **QUERY)
    assert answer.status_code == 400
    assert answer.json()["id"] == 1
    assert answer.json()["error"]["code"] == -32020


@pytest.mark.parametrize("name", ["query_table  ", " query_table", "=?base64?cXVlcnlfdGFibGU=?="])
async def test_blanks_around_a_header_and_its_encoding_do_not_matter(
    user1: Caller, name: str
) -> None:
    answer = await post(user1, "tools/call", sent={"Mcp_Name": name}, **QUERY)
    assert answer.status_code == 200


async def test_a_header_sent_twice_is_refused(user1: Caller) -> None:
    params = {"_meta": envelope(), **QUERY}
    answer = await user1.http.post(
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers=[
            ("X-Client-Key", user1.key),
            ("MCP-Protocol-Version", NOW),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "query_table"),
            ("Mcp-Name", "query_table"),
        ],
    )
    assert answer.json()["error"]["code"] == -32020


async def test_an_unknown_version_is_told_the_known_ones(user1: Caller) -> None:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {"_meta": envelope("2031-01-01")},
    }
    answer = await user1.post(body, MCP_Protocol_Version="2031-01-01", Mcp_Method="tools/list")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, -32022)
    assert error["data"]["supported"] == list(MODERN)
    assert error["data"]["requested"] == "2031-01-01"


@pytest.mark.parametrize("field", ["protocolVersion", "clientCapabilities"])
async def test_an_envelope_without_its_fields_is_refused(user1: Caller, field: str) -> None:
    meta = {k: v for k, v in envelope().items() if not k.endswith(field)}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    answer = await user1.post(body, MCP_Protocol_Version=NOW, Mcp_Method="tools/list")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)


async def test_batches_do_not_exist(user1: Caller) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": envelope()}}
    answer = await user1.post([body], MCP_Protocol_Version=NOW, Mcp_Method="tools/list")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


async def test_a_session_id_is_ignored(user1: Caller) -> None:
    answer = await post(user1, "tools/list", sent={"Mcp_Session_Id": "abc"})
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers


async def test_a_notification_is_taken_without_an_answer(user1: Caller) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    answer = await user1.post(body, MCP_Protocol_Version=NOW)
    assert (answer.status_code, answer.content) == (202, b"")


async def test_a_stranger_is_refused_without_the_codes_of_the_old_era(user1: Caller) -> None:
    answer = await user1.http.post("/mcp", json={}, headers={"MCP-Protocol-Version": NOW})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == -32600
    assert answer.json()["error"]["data"]["code"] == "FLX301"
