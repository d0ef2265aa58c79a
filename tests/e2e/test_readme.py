"""The commands of the README and the guides, run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.config import load
from tests.e2e.cli_stand import ROOT
from tests.e2e.process import Demo, demo
from tests.e2e.test_clients import CLIENTS, NODE

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with demo() as running:
        yield running


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def put_in(server: Demo, text: str) -> str:
    return (
        text.replace("localhost:8080", f"localhost:{server.port}")
        .replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        .replace("your-client-key", server.keys["user1"])
    )


CURLS = [
    (name, block)
    for name in ("README.md", "docs/guides/connecting.md")
    for block in blocks(name, "bash")
    if block.startswith("curl")
]


@pytest.mark.parametrize(("name", "block"), CURLS)
def test_every_curl_answers(server: Demo, name: str, block: str) -> None:
    done = server.place.bash(put_in(server, block).replace("curl ", "curl -sS ", 1))
    assert done.code == 0, done.err
    result: dict[str, Any] = json.loads(done.out)["result"]
    assert result.get("isError", False) is False
    assert result.get("tools") or result["structuredContent"]


@pytest.mark.parametrize("block", blocks("docs/guides/rest.md", "bash"))
def test_every_curl_of_plain_http_answers(server: Demo, block: str) -> None:
    line = put_in(server, block).replace("curl ", "curl -sS -w '\n%{http_code}' ", 1)
    body, _, status = server.place.bash(line).out.rpartition("\n")
    assert status == "200"
    found = json.loads(body)
    assert found.get("tools") or found.get("rows") or found.get("inserted") or found["paths"]


def test_the_readmes_key_command_makes_a_key_that_works(server: Demo) -> None:
    [command] = [b for b in blocks("README.md", "bash") if b.startswith("fluxbase clientkeys")]
    done = server.place.bash(command)
    assert done.code == 0, done.err
    [key] = re.findall(r"fbk_\w+", done.out)
    rows = server.running.call(key, "todos", "user_id").json()["result"]["structuredContent"][
        "rows"
    ]
    assert {row["user_id"] for row in rows} == {"00000000-0000-4000-8000-000000000001"}


def test_the_getting_started_migration_is_seen_at_once(server: Demo) -> None:
    [sql] = blocks("docs/guides/getting-started.md", "sql")
    assert server.place.run("migrate", "new", "add_notes").code == 0
    [file] = (server.place.folder / "migrations").glob("*_add_notes.sql")
    file.write_text(sql, "utf-8")
    done = server.place.run("migrate", "up")
    assert done.code == 0, done.err
    commands = [b for b in blocks("docs/guides/getting-started.md", "bash") if "--expires" in b]
    [key] = re.findall(r"fbk_\w+", server.place.bash(commands[0]).out)
    answer = server.running.call(key, "notes").json()["result"]
    assert answer["structuredContent"]["rows"] == []


def test_the_life_of_a_key_goes_as_the_guide_says(server: Demo) -> None:
    made = 'fluxbase clientkeys create --name "Living" --scopes read:tables'
    assert server.place.bash(made).code == 0
    [life] = [b for b in blocks("docs/guides/keys-and-scopes.md", "bash") if "rotate" in b]
    for line in life.strip().splitlines():
        done = server.place.bash(line.replace("AI Assistant", "Living"))
        assert done.code == 0, (line, done.err)


def test_the_python_of_the_guide_runs(server: Demo) -> None:
    [code] = blocks("docs/guides/connecting.md", "python")
    file = server.place.folder / "example.py"
    file.write_text(put_in(server, code), "utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rows" in done.stdout


def test_the_typescript_of_the_guide_runs(server: Demo) -> None:
    [code] = blocks("docs/guides/connecting.md", "typescript")
    module = (
        CLIENTS / "typescript/node_modules/@modelcontextprotocol/client/dist/index.mjs"
    ).as_uri()
    file = server.place.folder / "example.mjs"
    file.write_text(put_in(server, code).replace("@modelcontextprotocol/client", module), "utf-8")
    done = subprocess.run(
        [str(NODE), str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rows" in done.stdout


def test_the_inspector_of_the_guide_runs(server: Demo) -> None:
    [block] = [b for b in blocks("docs/guides/connecting.md", "bash") if "inspector" in b]
    program = f"'{NODE}' '{CLIENTS}/inspector/node_modules/.bin/mcp-inspector'"
    line = put_in(server, block).replace("npx -y @modelcontextprotocol/inspector@2.12.0", program)
    done = server.place.bash(f"HOME='{server.place.folder}' {line}")
    assert done.code == 0, done.err
    assert "query_table" in done.out


def test_every_json_block_of_the_guide_is_json() -> None:
    for block in blocks("docs/guides/connecting.md", "json"):
        json.loads(block)


def test_every_yaml_block_of_the_guides_is_a_valid_configuration(server: Demo) -> None:
    for name in ("configuration", "keys-and-scopes", "oauth"):
        for place, block in enumerate(blocks(f"docs/guides/{name}.md", "yaml")):
            file = server.place.folder / f"{name}-{place}.yaml"
            file.write_text(block.replace("…", "x"), "utf-8")
            load(file, env={})
