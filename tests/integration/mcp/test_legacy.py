"""The legacy era: a handshake, and answers as its schemas say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mcp_types.methods import validate_server_result

from fluxbase.mcp.wire import LEGACY, MODERN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import Caller

HELLO = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("initialize", {"protocolVersion": "2025-11-25", **HELLO}),
    ("ping", {}),
    ("tools/list", {}),
    ("tools/call", {"name": "query_table", "arguments": {"table": "notes"}}),
    ("tools/call", {"name": "query_table", "arguments": {"table": "no"}}),
    ("tools/call", {"name": "list_tables", "arguments": None}),
    ("tools/call", {"name": "list_tables"}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "fluxbase://schema/tables"}),
]


@pytest.mark.parametrize("version", [None, *LEGACY])
@pytest.mark.parametrize(("method", "params"), GOOD, ids=[m for m, _ in GOOD])
async def test_every_answer_fits_the_schema_of_its_version(
    user1: Caller, version: str | None, method: str, params: dict[str, Any]
) -> None:
    body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
    sent = {"MCP_Protocol_Version": version} if version else {}
    answer = await user1.post(body, **sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    answered = answer.json()
    assert answered.keys() == {"jsonrpc", "id", "result"}
    assert answered["id"] == "a"
    validate_server_result(method, version or "2025-03-26", answered["result"])
    assert "resultType" not in answered["result"]


@pytest.mark.parametrize("version", LEGACY)
async def test_a_known_version_is_agreed_to(user1: Caller, version: str) -> None:
    answer = await user1.rpc("initialize", protocolVersion=version, **HELLO)
    assert answer["result"]["protocolVersion"] == version
    assert answer["result"]["serverInfo"]["name"] == "fluxbase"


@pytest.mark.parametrize("version", [*MODERN, "2024-01-01", "2099-01-01", "", "latest"])
async def test_another_version_is_answered_with_the_newest_of_the_era(
    user1: Caller, version: str
) -> None:
    answer = await user1.rpc("initialize", protocolVersion=version, **HELLO)
    assert answer["result"]["protocolVersion"] == LEGACY[-1]


async def test_initialize_without_a_version_is_refused(user1: Caller) -> None:
    answer = await user1.rpc("initialize")
    assert answer["error"]["code"] == -32602


async def test_a_header_of_an_unknown_version_is_refused(user1: Caller) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await user1.post(body, MCP_Protocol_Version="2023-01-01")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)


async def test_the_old_name_of_the_list_of_templates_still_works(user1: Caller) -> None:
    old = await user1.rpc("resources/templates")
    assert old["result"] == (await user1.rpc("resources/templates/list"))["result"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("resources/read", {"uri": "fluxbase://no/such"}, -32002),
        ("resources/read", {}, -32602),
        ("tools/call", {"name": "no_such_tool"}, -32003),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": 5}, -32602),
        ("tools/call", {"name": ["query_table"]}, -32602),
        ("tools/call", {"name": {"query_table": 1}}, -32602),
        ("tools/call", {"name": "query_table", "arguments": "x"}, -32602),
        ("server/discover", {}, -32601),
        ("no/such", {}, -32601),
        ("tools/list", {"cursor": "made up"}, -32602),
    ],
)
async def test_errors_have_the_codes_of_the_original(
    user1: Caller, method: str, params: dict[str, Any], code: int
) -> None:
    answer = await user1.rpc(method, **params)
    assert answer["id"] == 1
    assert answer["error"]["code"] == code


async def test_a_wrong_argument_is_a_result_that_a_model_can_act_on(user1: Caller) -> None:
    answer = await user1.rpc("tools/call", name="query_table", arguments={"tabel": "notes"})
    assert answer["result"]["isError"] is True
    assert "did you mean 'table'?" in answer["result"]["content"][0]["text"]
    assert "structuredContent" not in answer["result"]


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/no_such", "params": {"x": 1}},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "no_such_tool"}},
        {"jsonrpc": "2.0", "id": 7, "result": {}},
        {"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "no"}},
    ],
)
async def test_nothing_is_said_to_notifications_and_responses(
    user1: Caller, body: dict[str, Any]
) -> None:
    answer = await user1.post(body)
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers


async def test_a_notification_does_not_run_a_tool(user1: Caller) -> None:
    call = {"name": "insert_record", "arguments": {"table": "notes", "data": {"title": "ghost"}}}
    await user1.post({"jsonrpc": "2.0", "method": "tools/call", "params": call})
    assert await user1.rows("notes", filter={"title": "eq.ghost"}) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
        b"[" * 100 + b"]" * 100,
    ],
)
async def test_what_is_not_strict_json_is_a_parse_error(user1: Caller, body: bytes) -> None:
    answer = await user1.post(body)
    assert answer.status_code == 400
    assert answer.json()["id"] is None
    assert answer.json()["error"]["code"] == -32700


async def test_an_invalid_id_is_not_repeated(user1: Caller) -> None:
    answer = await user1.post({"jsonrpc": "2.0", "id": None, "method": "ping"})
    assert (answer.status_code, answer.json()["id"]) == (400, None)
    assert answer.json()["error"]["code"] == -32600


async def test_a_session_id_is_answered_with_404_so_that_clients_initialize_again(
    user1: Caller,
) -> None:
    answer = await user1.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Mcp_Session_Id="x")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == -32002


async def test_lists_are_paged_by_cursor_in_a_fixed_order(
    serving: Callable[..., Any], user1: Caller
) -> None:
    whole = [t["name"] for t in (await user1.rpc("tools/list"))["result"]["tools"]]
    assert whole == [t["name"] for t in (await user1.rpc("tools/list"))["result"]["tools"]]
    async with serving(mcp={"page_size": 3}) as http:
        user1.http = http
        seen: list[str] = []
        params: dict[str, str] = {}
        for _ in whole:
            page = (await user1.rpc("tools/list", **params))["result"]
            assert len(page["tools"]) <= 3
            seen += [tool["name"] for tool in page["tools"]]
            if "nextCursor" not in page:
                break
            params = {"cursor": page["nextCursor"]}
    assert seen == whole
