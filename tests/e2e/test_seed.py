"""The manual's page on MCP, word for word, against a real server: its YAML, commands and JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.config import load
from tests.e2e.process import Demo, demo

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

YAML = """mcp:
  enabled: true
  base_path: /mcp
  session_timeout: 3600s
  max_message_size: 10485760  # 10MB
  rate_limit_per_min: 100
  allowed_tools: []      # Empty = all tools enabled
  allowed_resources: []  # Empty = all resources enabled
"""
OURS = """server:
  port: 0
database:
  embedded:
    settings: {fsync: "off", full_page_writes: "off", synchronous_commit: "off"}
"""
CREATE = r"""fluxbase clientkeys create --name "AI Assistant" \
  --scopes "read:tables,write:tables,execute:functions"
"""
CLIENT_CURL = r"""curl -X POST http://localhost:8080/mcp \
  -H "Content-Type: application/json" \
  -H "X-Client-Key: your-client-key" \
  -d '{"jsonrpc":"2.0","method":"tools/list","id":1}'
"""
SERVICE_CURL = r"""curl -X POST http://localhost:8080/mcp \
  -H "Content-Type: application/json" \
  -H "X-Service-Key: your-service-key" \
  -d '{"jsonrpc":"2.0","method":"tools/list","id":1}'
"""
BODY = '{"jsonrpc":"2.0","method":"tools/list","id":1}'
HEALTH_CURL = "curl http://localhost:8080/mcp/health"
REQUEST = """{
  "jsonrpc": "2.0",
  "method": "tools/call",
  "params": {
    "name": "query_table",
    "arguments": {
      "table": "users",
      "select": "id,email,created_at",
      "filter": {"is_active": "eq.true"},
      "limit": 10
    }
  },
  "id": 1
}"""

pytestmark = pytest.mark.xdist_group("seed")


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with demo(YAML + OURS) as running:
        yield running


@pytest.fixture(scope="module")
def assistant(server: Demo) -> str:
    """The key that the manual's command makes."""
    done = server.place.bash(CREATE)
    assert done.code == 0, done.err
    [key] = re.findall(r"fbk_\w+", done.out)
    return key


def curl(server: Demo, line: str, **put_in: str) -> Any:
    line = line.replace("localhost:8080", f"localhost:{server.port}")
    for name, key in put_in.items():
        placeholder = name.replace("_", "-")
        assert placeholder in line
        line = line.replace(placeholder, key)
    done = server.place.bash(line)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_yaml_block_is_read_with_its_values(tmp_path: Path) -> None:
    file = tmp_path / "fluxbase.yaml"
    file.write_text(YAML)
    mcp = load(file).config.mcp
    assert mcp.enabled is True
    assert mcp.base_path == "/mcp"
    assert mcp.session_timeout == 3600
    assert mcp.max_message_size == 10485760
    assert mcp.rate_limit_per_min == 100
    assert mcp.allowed_tools == ()
    assert mcp.allowed_resources == ()


def test_the_values_of_the_block_are_the_defaults_but_for_enabled(tmp_path: Path) -> None:
    said, unsaid = tmp_path / "said.yaml", tmp_path / "unsaid.yaml"
    said.write_text(YAML.replace("enabled: true", "enabled: false"))
    unsaid.write_text("{}\n")
    assert load(said).config.mcp == load(unsaid).config.mcp


def test_the_key_of_the_command_lists_the_tools(server: Demo, assistant: str) -> None:
    answer = curl(server, CLIENT_CURL, your_client_key=assistant)
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
    names = {tool["name"] for tool in answer["result"]["tools"]}
    assert {"query_table", "insert_record", "update_record", "delete_record"} <= names


def test_a_service_key_lists_the_tools(server: Demo) -> None:
    answer = curl(server, SERVICE_CURL, your_service_key=server.keys["service"])
    assert "query_table" in {tool["name"] for tool in answer["result"]["tools"]}


def test_health_needs_no_key(server: Demo) -> None:
    answer = curl(server, HEALTH_CURL)
    assert answer.keys() == {"status", "protocolVersion", "serverVersion"}
    assert answer["status"] == "healthy"


@pytest.mark.parametrize("caller", ["user1", "user2", "service"])
def test_the_example_request_has_the_example_response(server: Demo, caller: str) -> None:
    template = SERVICE_CURL if caller == "service" else CLIENT_CURL
    kind = "service" if caller == "service" else "client"
    line = template.replace(BODY, REQUEST)
    answer = curl(server, line, **{f"your_{kind}_key": server.keys[caller]})
    assert answer.keys() == {"jsonrpc", "result", "id"}
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
    result = answer["result"]
    assert result["isError"] is False
    [block] = result["content"]
    assert block.keys() == {"type", "text"}
    assert block["type"] == "text"
    rows = json.loads(block["text"])
    assert all(list(row) == ["id", "email", "created_at"] for row in rows)
    assert sorted(row["email"] for row in rows) == [f"user{n}@example.com" for n in (1, 2, 3)]


def test_a_key_without_a_user_sees_the_directory_and_nobodys_todos(
    server: Demo, assistant: str
) -> None:
    line = CLIENT_CURL.replace(BODY, REQUEST)
    answer = curl(server, line, your_client_key=assistant)
    rows = json.loads(answer["result"]["content"][0]["text"])
    assert [row["email"] for row in rows] == [f"user{n}@example.com" for n in (1, 2, 3)]
    todos = REQUEST.replace("users", "todos").replace("id,email,created_at", "id")
    todos = todos.replace('{"is_active": "eq.true"}', "{}")
    answer = curl(server, CLIENT_CURL.replace(BODY, todos), your_client_key=assistant)
    assert answer["result"]["content"] == [{"type": "text", "text": "[]"}]


def activity(active: str) -> str:
    """The example as a change of one account."""
    change = REQUEST.replace("query_table", "update_record")
    change = change.replace('"select": "id,email,created_at"', f'"data": {{"is_active": {active}}}')
    change = change.replace('"is_active": "eq.true"', '"email": "eq.user3@example.com"')
    return SERVICE_CURL.replace(BODY, change.replace('"limit": 10', '"max_affected": 1'))


def test_closed_accounts_are_not_among_the_active(server: Demo) -> None:
    key = server.keys["service"]
    changed = curl(server, activity("false"), your_service_key=key)
    assert changed["result"]["structuredContent"]["updated"] == 1
    answer = curl(server, SERVICE_CURL.replace(BODY, REQUEST), your_service_key=key)
    curl(server, activity("true"), your_service_key=key)
    rows = json.loads(answer["result"]["content"][0]["text"])
    assert sorted(row["email"] for row in rows) == ["user1@example.com", "user2@example.com"]
