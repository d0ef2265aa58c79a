"""Procedures by the command line: published from files, all or nothing, and called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.rpc.running import LEASE
from tests.e2e.cli_stand import Place, Running, place, wait

if TYPE_CHECKING:
    from collections.abc import Generator

ASYNC = {"async": True}
ADD = """-- Adds two numbers.
-- @public
CREATE OR REPLACE FUNCTION public.add_two(a int, b int DEFAULT 1) RETURNS int
LANGUAGE sql AS 'SELECT a + b';
"""


@pytest.fixture
def here() -> Generator[Place]:
    with place() as made:
        yield made


def put(here: Place, name: str, text: str) -> None:
    path = here.folder / "rpc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def actions(here: Place, *words: str) -> list[tuple[str, str, str]]:
    done = here.run("rpc", "sync", "-o", "json", *words)
    assert done.code == 0, done.err
    return [(row["action"], row["namespace"], row["name"]) for row in done.json]


def test_a_folder_is_published_and_what_is_gone_is_withdrawn(here: Place) -> None:
    put(here, "add.sql", ADD)
    put(here, "sums/add.sql", ADD.replace("add_two", "add_three").replace("a + b", "a + b + 1"))
    both = [("published", "default", "add"), ("published", "sums", "add")]
    assert actions(here, "--dry-run") == both
    assert here.run("rpc", "ls", "-o", "json").json == []
    assert actions(here) == both
    assert "Adds" not in here.run("rpc", "ls").out
    assert here.run("rpc", "invoke", "add", "--params", '{"a": 2}').json == 3
    three = here.run("rpc", "invoke", "add", "--namespace", "sums", "--params", '{"a": 2, "b": 3}')
    assert three.json == 6
    (here.folder / "rpc" / "sums" / "add.sql").unlink()
    assert actions(here) == [("replaced", "default", "add"), ("withdrawn", "sums", "add")]
    gone = here.run("rpc", "invoke", "add", "--namespace", "sums", "--params", '{"a": 2}')
    assert (gone.code, "No such procedure" in gone.err) == (1, True)
    wrong = here.run("rpc", "invoke", "add", "--params", '{"c": 2}')
    assert (wrong.code, "there are: a, b" in wrong.err) == (2, True)


SLEEP = """-- Sleeps.
-- @public
-- @timeout 60s
CREATE OR REPLACE FUNCTION public.sleeps(seconds float) RETURNS text
LANGUAGE sql AS $$ SELECT pg_sleep(seconds); SELECT 'slept' $$;
"""


def test_a_call_in_the_background_is_listed_and_ended_by_others(here: Place) -> None:
    put(here, "sleeps.sql", SLEEP)
    actions(here)
    done = here.run("rpc", "invoke", "sleeps", "--params", '{"seconds": 0}', "--async")
    assert (done.json, "execution " in done.err) == ("slept", True)
    with here.serving("--demo") as server:
        key = json.loads((here.folder / ".fluxbase" / "demo-keys.json").read_text())["service"]
        begun = tool(server, key, "invoke_rpc", name="sleeps", params={"seconds": 50}, **ASYNC)
        listed = here.run("rpc", "executions", "--running", "-o", "json").json
        assert [row["execution_id"] for row in listed] == [begun["execution_id"]]
        ended = here.run("rpc", "cancel", begun["execution_id"], "-o", "json").json
        assert (ended["status"], ended["error"]) == ("cancelled", "the call was cancelled")
        tool(server, key, "invoke_rpc", name="sleeps", params={"seconds": 2}, **ASYNC)
        assert server.stop() == 0
    rows = here.run("rpc", "executions", "-o", "json").json
    assert [row["status"] for row in rows] == ["completed", "cancelled", "completed"]


@pytest.mark.slow
def test_what_a_killed_server_ran_is_told_as_failed_by_another(here: Place) -> None:
    put(here, "sleeps.sql", SLEEP)
    actions(here)
    with here.serving("--demo", name="one") as one, here.serving(name="two") as two:
        key = json.loads((here.folder / ".fluxbase" / "demo-keys.json").read_text())["service"]
        begun = tool(two, key, "invoke_rpc", name="sleeps", params={"seconds": 50}, **ASYNC)
        asked = {"execution_id": begun["execution_id"]}
        assert tool(one, key, "get_rpc_execution", **asked)["status"] == "running"
        two.process.kill()
        two.process.wait(10)

        def told() -> str:
            return tool(one, key, "get_rpc_execution", wait_seconds=5, **asked)["status"]

        wait(lambda: told() != "running", "the end of its lease", LEASE + 20)
        error = tool(one, key, "get_rpc_execution", **asked)["error"]
        assert error == "the server that ran it went away"


def tool(server: Running, key: str, name: str, /, **arguments: Any) -> Any:
    headers = {"X-Service-Key": key}
    answer = httpx2.post(
        f"{server.url}/mcp/tools/{name}", json=arguments, headers=headers, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_one_wrong_file_publishes_nothing(here: Place) -> None:
    put(here, "add.sql", ADD)
    function = "CREATE FUNCTION public.b() RETURNS {} LANGUAGE {} AS '{}';\n"
    for text, said in (
        (
            "-- @public\n" + function.format("int", "sql", "SELECT nothing"),
            'b.sql: column "nothing"',
        ),
        ("-- @public\nSELECT 1;\n", "b.sql: one function is expected"),
        ("-- @public\nCOMMIT;\n", "b.sql: EXECUTE of transaction commands"),
        ("-- @publik\nSELECT 1;\n", "did you mean @public?"),
        ("-- @public\n" + function.format("trigger", "plpgsql", "BEGIN END"), "for triggers"),
    ):
        put(here, "b.sql", text)
        done = here.run("rpc", "sync")
        assert done.code != 0
        assert said in done.err, done.err
        assert here.run("rpc", "ls", "-o", "json").json == []
