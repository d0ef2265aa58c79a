"""Clients of this machine, by standard input and output: in process, and through a bridge."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.e2e.cli_stand import place, wait
from tests.e2e.process import Demo
from tests.e2e.test_clients import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

MODES = ("legacy", "auto")
WAYS = ("in process", "bridged")


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with place() as here:
        prepare(here)
        with here.serving("--demo") as running:
            wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
            kept = here.folder / ".fluxbase" / "demo-keys.json"
            yield Demo(here, running, json.loads(kept.read_text()))


def words(server: Demo, way: str) -> list[str]:
    url = ["--url", server.endpoint] if way == "bridged" else []
    return ["mcp", "stdio", *url]


@asynccontextmanager
async def connected(server: Demo, way: str, mode: str, errors: Path) -> AsyncGenerator[Client]:
    parameters = StdioServerParameters(
        command="fluxbase",
        args=words(server, way),
        env={**server.place.env, "FLUXBASE_KEY": server.keys["user1"]},
        cwd=server.place.folder,
    )
    with errors.open("w") as log:
        async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
            yield client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", WAYS)
async def test_the_official_client_has_the_same_tools_by_standard_input(
    server: Demo, way: str, mode: str, tmp_path: Path
) -> None:
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with connected(server, way, mode, tmp_path / "log") as client:
        assert client.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert {"query_table", "list_tables"} <= set(tools)
        found: Any = await client.call_tool("query_table", {"table": "todos", "limit": 3})
        assert len(found.structured_content["rows"]) == 3
        [read] = (await client.read_resource("fluxbase://schema/tables")).contents
        assert "todos" in str(read)
        await client.call_tool("query_table", {"table": "slow"}, progress_callback=on_progress)
        assert len(told) >= 2
        refused = await client.call_tool("query_table", {"table": "no_such"})
        assert refused.is_error
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log


@contextmanager
def piped(server: Demo, way: str, key: str) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["fluxbase", *words(server, way)],
        cwd=server.place.folder,
        env={**server.place.env, "FLUXBASE_KEY": key},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("way", WAYS)
def test_lines_are_answered_one_by_one_and_the_end_of_input_ends_it(server: Demo, way: str) -> None:
    lines: list[Any] = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "a", "method": "no/such"},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\nno json\n"
    with piped(server, way, server.keys["user1"]) as process:
        out, err = process.communicate(text, timeout=60)
    assert process.returncode == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 3
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[1]["result"]["tools"]
    assert by_id["a"]["error"]["code"] == -32601
    assert by_id[None]["error"]["code"] == -32700


def test_a_wrong_key_is_refused_before_anything_is_served(server: Demo) -> None:
    with piped(server, "in process", "fbk_nonsense") as process:
        out, err = process.communicate("", timeout=60)
    assert process.returncode != 0
    assert out == ""
    assert "valid key" in err
    assert "fbk_nonsense" not in err
    assert "Traceback" not in err
    bare = server.place.run("mcp", "stdio")
    assert bare.code != 0
    assert "--key: a key is needed" in bare.err


def test_a_bridge_says_that_its_server_is_gone(server: Demo) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"}) + "\n"
    process = subprocess.Popen(
        ["fluxbase", "mcp", "stdio", "--url", "http://127.0.0.1:1/mcp"],
        cwd=server.place.folder,
        env={**server.place.env, "FLUXBASE_KEY": "fbk_x"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(line, timeout=30)
    assert process.returncode == 0, err
    answer = json.loads(out)
    assert answer["id"] == 7
    assert answer["error"]["data"]["code"] == "FLX504"


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_is_cancelled_stops(server: Demo, way: str) -> None:
    with piped(server, way, server.keys["user1"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def say(**message: Any) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            process.stdin.flush()

        capabilities: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
        say(id=0, method="initialize", params=capabilities)
        assert json.loads(process.stdout.readline())["id"] == 0
        say(method="notifications/initialized")
        arguments = {"name": "query_table", "arguments": {"table": "slower"}}
        say(id=5, method="tools/call", params={**arguments, "_meta": {"progressToken": "t"}})
        # A note of progress says that the query runs.
        assert json.loads(process.stdout.readline())["method"] == "notifications/progress"
        began = time.monotonic()
        say(method="notifications/cancelled", params={"requestId": 5})
        lines = (json.loads(line) for line in process.stdout)
        answer = next(line for line in lines if "id" in line)
        assert time.monotonic() - began < 8
        assert answer["id"] == 5
        assert answer["error"]["data"]["code"] == "FLX507"
