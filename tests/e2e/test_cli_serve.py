"""The server at the command line: demo, reload, end, and what stops it from starting."""

from __future__ import annotations

import json
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.e2e.cli_stand import CONFIG, Place, Running, place, wait

if TYPE_CHECKING:
    from collections.abc import Generator

USER1 = "00000000-0000-4000-8000-000000000001"
USER2 = "00000000-0000-4000-8000-000000000002"


@pytest.fixture(scope="module")
def here() -> Generator[Place]:
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def stage() -> Generator[Place]:
    """The place of the one server that most tests look at."""
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def server(stage: Place) -> Generator[Running]:
    with stage.serving("--demo") as running:
        wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
        yield running


def keys(here: Place) -> dict[str, str]:
    return json.loads((here.folder / ".fluxbase" / "demo-keys.json").read_text())


def rows(answer: Any) -> Any:
    return json.loads(answer["result"]["content"][0]["text"])


def printed_curl(server: Running) -> str:
    block = re.search(r"^curl (?:.*\\\n)+.*$", server.out.read_text(), re.MULTILINE)
    assert block
    return block[0]


def test_the_printed_curl_shows_the_rows_of_its_user_only(stage: Place, server: Running) -> None:
    done = stage.bash(printed_curl(server))
    assert done.code == 0, done.err
    found = rows(json.loads(done.out))
    assert len(found) == 12
    assert {row["user_id"] for row in found} == {USER1}


def test_another_key_shows_others_and_no_key_nothing(stage: Place, server: Running) -> None:
    line = printed_curl(server)
    other = stage.bash(line.replace(keys(stage)["user1"], keys(stage)["user2"]))
    assert {row["user_id"] for row in rows(json.loads(other.out))} == {USER2}
    bare = stage.bash(re.sub(r"  -H 'X-Client-Key: .*\n", "", line) + " -i")
    assert bare.out.startswith("HTTP/1.1 401")


@pytest.mark.parametrize("table", ["projects", "todos"])
def test_a_demo_user_sees_its_own_rows_only(stage: Place, server: Running, table: str) -> None:
    owner = "user_id"
    found = rows(server.call(keys(stage)["user2"], table, owner).json())
    assert {row[owner] for row in found} == {USER2}
    everything = rows(server.call(keys(stage)["service"], table, owner, "X-Service-Key").json())
    assert len({row[owner] for row in everything}) == 3


def test_the_printed_json_is_what_clients_take(stage: Place, server: Running) -> None:
    block = re.search(r"^\{\n.*?^\}$", server.out.read_text(), re.MULTILINE | re.DOTALL)
    assert block
    entry = json.loads(block[0])["mcpServers"]["fluxbase"]
    assert entry["type"] == "http"
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert httpx2.post(entry["url"], json=message, headers=entry["headers"]).status_code == 200


def test_the_log_says_where_and_how_many_tools(server: Running) -> None:
    log = server.err.read_text()
    assert re.search(r"MCP is enabled at http://127\.0\.0\.1:\d+/mcp with \d+ tools", log)


def test_commands_beside_a_server_see_what_it_sees(stage: Place, server: Running) -> None:
    names = [key["name"] for key in stage.run("clientkeys", "list", "-o", "json").json]
    assert "Demo user 1" in names
    doctor = stage.run("doctor", "--strict", "-o", "json")
    assert doctor.code == 0, doctor.out
    assert {line["status"] for line in doctor.json} == {"ok"}


def test_a_reload_takes_a_good_file_whole_and_a_broken_one_not_at_all(
    stage: Place, server: Running
) -> None:
    key = keys(stage)["user1"]
    stage.configure(CONFIG.replace("true", "true\n  allowed_tools: [list_tables]"))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("the configuration was reloaded")
    assert "error" in server.call(key, "todos").json()
    stage.configure(CONFIG.replace("enabled: true", "enabeld: true"))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("fluxbase.yaml:2: mcp.enabeld: unknown key; did you mean 'enabled'?")
    checks = httpx2.get(f"{server.url}/readyz?verbose").json()["checks"]
    assert "enabeld" in checks["config"]["reload_error"]
    assert "error" in server.call(key, "todos").json()
    stage.configure(CONFIG)
    server.process.send_signal(signal.SIGHUP)
    wait(lambda: "result" in server.call(key, "todos").json(), "the old configuration")


def test_a_later_start_prints_the_same_keys_and_a_revoked_one_is_replaced(here: Place) -> None:
    here.configure(CONFIG)
    with here.serving("--demo"):
        before = keys(here)
    assert (here.folder / ".fluxbase" / "demo-keys.json").stat().st_mode & 0o777 == 0o600
    assert here.run("clientkeys", "revoke", "Demo user 1").code == 0
    with here.serving("--demo") as running:
        after = keys(here)
        assert after["user1"] != before["user1"]
        assert (after["user2"], after["service"]) == (before["user2"], before["service"])
        assert len(rows(running.call(after["user1"], "todos").json())) == 12
        assert running.stop() == 0


def test_lost_demo_keys_are_rotated_rather_than_multiplied(here: Place) -> None:
    with here.serving("--demo"):
        before = keys(here)
    (here.folder / ".fluxbase" / "demo-keys.json").unlink()
    with here.serving("--demo"):
        assert keys(here)["user2"] != before["user2"]
    found = here.run("clientkeys", "list", "-o", "json").json
    assert len([k for k in found if k["name"] == "Demo user 2"]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(here: Place, number: int) -> None:
    here.configure(CONFIG)
    with here.serving() as running:
        assert running.stop(number) == 0
    assert not here.postgres_runs()


def test_a_server_without_mcp_says_how_to_turn_it_on(here: Place) -> None:
    here.configure(CONFIG.replace("enabled: true", "enabled: false"))
    with here.serving() as running:
        assert "set mcp.enabled: true" in running.err.read_text()
        assert httpx2.post(f"{running.url}/mcp", json={}).status_code == 404
        assert httpx2.get(f"{running.url}/livez").status_code == 200


def test_a_taken_port_is_said_before_anything_starts(here: Place) -> None:
    here.configure(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = here.run("serve", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "the port is in use" in done.err
    assert "hint: process" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mcp:\n  enabled: yes please\n", "fluxbase.yaml:2: mcp.enabled"),
        ("mcp:\n  enabled: [\n", "fluxbase.yaml:3: not valid YAML"),
        ("mcp:\n  base_pth: /x\n", "fluxbase.yaml:2: mcp.base_pth: unknown key; did you mean"),
        (
            "mcp:\n  allowed_tools:\n    - list_tables\n    - query_tabel\n",
            "fluxbase.yaml:4: mcp.allowed_tools[1]: 'query_tabel' matches nothing; "
            "did you mean 'query_table'?",
        ),
    ],
)
@pytest.mark.parametrize("command", [("serve",), ("config", "check")])
def test_a_broken_file_is_refused_with_file_line_and_key(
    here: Place, command: tuple[str, ...], text: str, said: str
) -> None:
    here.configure(text)
    done = here.run(*command)
    here.configure(CONFIG)
    assert done.code == 2
    assert said in done.err


def test_the_demo_leaves_tables_of_others_alone(here: Place) -> None:
    with place() as other:
        (other.folder / "migrations").mkdir()
        migration = other.folder / "migrations" / "1_mine.sql"
        migration.write_text("-- migrate:up\nCREATE TABLE public.users (id int);\n")
        done = other.run("serve", "--demo")
    assert done.code == 2
    assert "public.users exist already" in done.err
