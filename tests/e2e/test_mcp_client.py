"""The official client against a real process, in both eras and as it chooses by itself."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import jsonschema
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent, TextResourceContents

from tests.e2e.process import Demo, demo

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

MODES = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28", "auto": "2026-07-28"}
TOOLS = {
    "query_table",
    "count_records",
    "insert_record",
    "update_record",
    "delete_record",
    "list_tables",
    "describe_table",
}
USER1 = "00000000-0000-4000-8000-000000000001"

pytestmark = pytest.mark.xdist_group("mcp_client")


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with demo() as running:
        yield running


@asynccontextmanager
async def connected(server: Demo, mode: str, key: str = "user1") -> AsyncGenerator[Client]:
    header = "X-Service-Key" if key == "service" else "X-Client-Key"
    headers = {header: server.keys.get(key, key)}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(
            streamable_http_client(server.endpoint, http_client=http),
            mode=mode,
            read_timeout_seconds=20,
            cache=None,
        ) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool; the client itself holds the answer against the schema the tool promised."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


@pytest.mark.parametrize("mode", MODES)
async def test_client_and_server_agree_on_a_version(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        assert client.protocol_version == MODES[mode]
        await client.list_tools()
        if mode != "2026-07-28":  # then the client asks nothing before its first call
            assert client.server_info is not None
            assert client.server_info.name == "fluxbase"
            assert "list_tables" in str(client.instructions)


@pytest.mark.parametrize("mode", MODES)
async def test_every_tool_is_listed_with_schemas_and_hints(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert tools.keys() >= TOOLS
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.open_world_hint is False
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert tool.output_schema is not None
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations}
    assert hints["query_table"].read_only_hint is True
    assert hints["delete_record"].destructive_hint is True


@pytest.mark.parametrize("mode", MODES)
async def test_every_tool_can_be_called(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        called: list[str] = []

        async def use(tool: str, **arguments: Any) -> Any:
            called.append(tool)
            return await call(client, tool, **arguments)

        tables = await use("list_tables")
        assert [t["name"] for t in tables["tables"]] == ["projects", "todos", "users"]
        assert (await use("describe_table", table="todos"))["primary_key"] == ["id"]
        data = [{"title": f"{mode} {n}"} for n in range(3)]
        made = await use("insert_record", table="todos", data=data)
        assert made["inserted"] == 3
        mine = {"title": f"like.{mode} %"}
        assert (await use("count_records", table="todos", filter=mine))["count"] == 3
        page = await use("query_table", table="todos", filter=mine, limit=2, count="exact")
        assert (len(page["rows"]), page["truncated"], page["total"]) == (2, True, 3)
        assert {row["user_id"] for row in page["rows"]} == {USER1}
        changed = await use("update_record", table="todos", data={"done": True}, filter=mine)
        assert changed["updated"] == 3
        assert (await use("delete_record", table="todos", filter=mine))["deleted"] == 3
    assert set(called) == TOOLS


@pytest.mark.parametrize("mode", MODES)
async def test_the_text_block_is_the_bare_array(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        result = await client.call_tool("query_table", {"table": "todos", "limit": 3})
    [block] = result.content
    assert isinstance(block, TextContent)
    assert json.loads(block.text) == result.structured_content["rows"]


@pytest.mark.parametrize("mode", MODES)
async def test_resources_are_listed_and_read(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        plain = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        assert "fluxbase://schema/tables" in [str(entry.uri) for entry in plain]
        assert any("{table}" in entry.uri_template for entry in templates)
        for uri in ("fluxbase://schema/tables", "fluxbase://schema/tables/public/todos"):
            [content] = (await client.read_resource(uri)).contents
            assert isinstance(content, TextResourceContents)
            assert "todos" in content.text
            assert content.mime_type == "application/json"


@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_that_refuses_says_why_and_the_connection_lives_on(
    server: Demo, mode: str
) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("query_table", {"table": "no_such"}, "FLX201"),
        ("query_table", {"table": "todos", "filter": {"done": "x"}}, "FLX102"),
        ("query_table", {}, "FLX101"),
        ("delete_record", {"table": "todos", "filter": {}}, "FLX101"),
        ("insert_record", {"table": "todos", "data": {"title": ""}}, "FLX601"),
    ]
    async with connected(server, mode) as client:
        for tool, arguments, code in wrong:
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            [block] = result.content
            assert isinstance(block, TextContent)
            assert block.text.startswith(f"{code}: ")
        assert (await call(client, "count_records", table="todos"))["count"] == 12


@pytest.mark.parametrize(
    ("mode", "tool", "resource"),
    [
        ("legacy", -32003, -32002),
        ("2026-07-28", -32602, -32602),
    ],
)
async def test_what_is_not_there_is_an_error_of_the_protocol(
    server: Demo, mode: str, tool: int, resource: int
) -> None:
    async with connected(server, mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("no_such_tool", {})
        assert refused.value.code == tool
        with pytest.raises(MCPError) as refused:
            await client.read_resource("fluxbase://no/such")
        assert refused.value.code == resource
        assert await client.list_tools()


@pytest.mark.parametrize("mode", MODES)
async def test_a_name_that_no_header_can_carry_is_still_only_unknown(
    server: Demo, mode: str
) -> None:
    async with connected(server, mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool(" ☃\n", {})
    assert refused.value.code in (-32003, -32602)


@pytest.mark.parametrize("mode", MODES)
async def test_numbers_keep_their_digits_on_the_way(server: Demo, mode: str) -> None:
    async with connected(server, mode) as client:
        found = await call(client, "query_table", table="todos", filter={"id": 2**63 - 1})
    assert found["rows"] == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_service_key_sees_every_row(server: Demo, mode: str) -> None:
    async with connected(server, mode, "service") as client:
        assert (await call(client, "count_records", table="todos"))["count"] == 36


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_stranger_does_not_get_in(server: Demo, mode: str) -> None:
    with pytest.raises((MCPError, ExceptionGroup)) as refused:
        async with connected(server, mode, "nonsense"):
            pass
    assert "valid key" in str(refused.value) or refused.group_contains(MCPError)


def raw(server: Demo, body: bytes, *lines: str) -> tuple[bytes, list[bytes], bytes]:
    """Send one request on a socket; return status line, headers and what follows them."""
    head = [
        "POST /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Content-Type: application/json",
        f"X-Client-Key: {server.keys['user1']}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *lines,
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as conn:
        conn.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: conn.recv(65536), b""))
    top, _, rest = answer.partition(b"\r\n\r\n")
    status, *headers = top.split(b"\r\n")
    return status, [header.lower() for header in headers], rest


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-11-25", "2026-07-28"])
def test_notifications_initialized_is_accepted_without_a_body(
    server: Demo, version: str | None
) -> None:
    lines = [f"MCP-Protocol-Version: {version}"] if version else []
    body = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    status, headers, rest = raw(server, body, *lines)
    assert status == b"HTTP/1.1 202 Accepted"
    assert b"content-length: 0" in headers
    assert not any(h.startswith((b"content-type", b"transfer-encoding")) for h in headers)
    assert rest == b""


def test_blanks_that_the_parser_leaves_at_a_headers_end_do_not_matter(server: Demo) -> None:
    params: dict[str, Any] = {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    }
    message: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": params,
    }
    lines = ("MCP-Protocol-Version: 2026-07-28 \t ", "Mcp-Method:  tools/list  ")
    status, _, rest = raw(server, json.dumps(message).encode(), *lines)
    assert status == b"HTTP/1.1 200 OK"
    assert b'"resultType":"complete"' in rest


def test_head_and_options_are_answered_without_a_body_or_with_json(server: Demo) -> None:
    answer = httpx2.request("HEAD", server.endpoint)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (
        405,
        "GET, POST, DELETE",
        b"",
    )
    answer = httpx2.request("OPTIONS", server.endpoint)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, DELETE")
    assert answer.json()["error"]["data"]["code"] == "FLX100"


def test_the_line_ends_with_a_404_for_a_session_that_never_was(server: Demo) -> None:
    headers = {"X-Client-Key": server.keys["user1"], "Mcp-Session-Id": "gone"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = httpx2.post(server.endpoint, json=message, headers=headers)
    assert answer.status_code == 404
    assert httpx2.delete(server.endpoint, headers=headers).status_code == 404
