"""Clients that people use get along with the product, each in both eras: they list, call, read,
hear of progress, and what they give up stops in Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.cli_stand import Place, Running, place, wait
from tests.e2e.process import DEFAULTS, Demo
from tests.programs import ROOT
from tests.relay import relay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

pytestmark = pytest.mark.slow

HERE: Final = Path(__file__).parent / "clients"
NODE: Final = ROOT / ".tools" / "node" / "bin" / "node"
CLIENTS: Final = ROOT / ".tools" / "clients"
TYPESCRIPT: Final = CLIENTS / "typescript/node_modules/@modelcontextprotocol/client/dist/index.mjs"
INSPECTOR: Final = CLIENTS / "inspector/node_modules/.bin/mcp-inspector"
PEERS: Final = ROOT / ".venv-bench" / "bin" / "python"
PATIENCE: Final = 60.0
# Reading `slow` takes as long as two notes of progress, `slower` longer than a test waits.
SLOW: Final = """-- migrate:up
CREATE TABLE public.slow (id integer PRIMARY KEY);
CREATE TABLE public.slower (id integer PRIMARY KEY);
INSERT INTO public.slow VALUES (1);
INSERT INTO public.slower VALUES (1);
ALTER TABLE public.slow ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.slower ENABLE ROW LEVEL SECURITY;
CREATE POLICY wait ON public.slow USING (pg_sleep(2.5)::text = '');
CREATE POLICY wait ON public.slower USING (pg_sleep(14)::text = '');
GRANT SELECT ON public.slow, public.slower TO authenticated;
"""


def prepare(here: Place) -> None:
    here.configure(DEFAULTS)
    folder = here.folder / "migrations"
    folder.mkdir()
    (folder / "20260101000000_slow.sql").write_text(SLOW)


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with place() as here:
        prepare(here)
        with here.serving("--demo") as running:
            wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
            kept = here.folder / ".fluxbase" / "demo-keys.json"
            yield Demo(here, running, json.loads(kept.read_text()))


def queries(running: Running) -> float:
    """Return how many connections of clients are in the middle of something."""
    text = httpx2.get(f"{running.url}/metrics", timeout=10).text
    [found] = re.findall(r'^fluxbase_pool_in_use\{[^}]*="client"\} (\S+)$', text, re.MULTILINE)
    return float(found)


def assert_stopped(server: Demo) -> None:
    began = time.monotonic()
    wait(lambda: queries(server.running) == 0, "the end of the query", 8)
    assert time.monotonic() - began < 8


def ran(command: list[str], **env: str) -> Any:
    """Return the last line of a program's output, which is JSON."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@asynccontextmanager
async def connected(server: Demo, mode: str) -> AsyncGenerator[Client]:
    headers = {"X-Client-Key": server.keys["user1"]}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(server.endpoint, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_python_client(server: Demo, mode: str) -> None:
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with connected(server, mode) as client:
        assert "query_table" in [tool.name for tool in (await client.list_tools()).tools]
        assert "review_rls" in [prompt.name for prompt in (await client.list_prompts()).prompts]
        got = await client.get_prompt("review_rls", {"table": "todos"})
        assert "todos" in str(got.messages)
        await client.call_tool("query_table", {"table": "slow"}, progress_callback=on_progress)
        assert len(told) >= 2
        running = asyncio.ensure_future(client.call_tool("query_table", {"table": "slower"}))
        await asyncio.sleep(0.8)
        assert await asyncio.to_thread(queries, server.running) >= 1
        running.cancel()
        await asyncio.wait((running,))
        await asyncio.to_thread(assert_stopped, server)
        await asyncio.sleep(0.5)  # it takes an answer that comes while it closes for an error


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_typescript_client(server: Demo, mode: str) -> None:
    script, key = str(HERE / "client.mjs"), server.keys["user1"]
    found = ran([str(NODE), script, str(TYPESCRIPT), server.endpoint, key, mode])
    assert found["version"] == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]
    assert {"query_table", "list_tables"} <= set(found["tools"])
    assert "explore_database" in found["prompts"]
    assert found["rows"] == 2
    assert "todos" in found["read"]
    assert len(found["told"]) >= 2
    assert found["refused"]
    assert (found["began"], found["stopped"]) == (True, True)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_client_of_fastmcp(server: Demo, mode: str) -> None:
    script = str(HERE / "fastmcp_client.py")
    found = ran([str(PEERS), script, server.endpoint, server.keys["user1"], mode])
    assert {"query_table", "list_tables"} <= set(found["tools"])
    assert "explore_database" in found["prompts"]
    assert found["rows"] == 2
    assert "todos" in found["read"]
    assert len(found["told"]) >= 2
    assert (found["began"], found["stopped"]) == (True, True)


def inspector(server: Demo, era: str, *words: str, endpoint: str | None = None) -> list[str]:
    return [
        str(NODE),
        str(INSPECTOR),
        "--cli",
        endpoint or server.endpoint,
        "--transport",
        "http",
        "--header",
        f"X-Client-Key: {server.keys['user1']}",
        "--stored-auth-only",
        "-q",
        "--format",
        "json",
        "--protocol-era",
        era,
        *words,
    ]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_command_line_of_the_inspector(server: Demo, era: str, tmp_path: Path) -> None:
    def look(*words: str, endpoint: str | None = None) -> str:
        done = subprocess.run(
            inspector(server, era, *words, endpoint=endpoint),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "query_table" in look("--method", "tools/list", "--strict")
    arguments = json.dumps({"table": "todos", "limit": 1})
    called = ("--method", "tools/call", "--tool-name", "query_table")
    assert "structuredContent" in look(*called, "--tool-args-json", arguments)
    assert "todos" in look("--method", "resources/read", "--uri", "fluxbase://schema/tables")
    assert "review_rls" in look("--method", "prompts/list")
    # It shows no progress, so what it is told is taken on the way.
    token = ("--tool-metadata", "progressToken=7")
    slow = json.dumps({"table": "slow"})
    port = urlsplit(server.endpoint).port
    assert port is not None
    with relay(port) as (other, passed):
        near = server.endpoint.replace(f":{port}/", f":{other}/")
        assert "rows" in look(*called, "--tool-args-json", slow, *token, endpoint=near)
        assert passed.heard.count(b"notifications/progress") >= 2


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_an_inspector_that_is_stopped_stops_its_query(
    server: Demo, era: str, tmp_path: Path
) -> None:
    slower = json.dumps({"table": "slower"})
    words = ("--method", "tools/call", "--tool-name", "query_table", "--tool-args-json", slower)
    process = subprocess.Popen(
        inspector(server, era, *words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    try:
        wait(lambda: queries(server.running) >= 1, "the query", PATIENCE)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    assert_stopped(server)
