"""Functions by the command line: begun, served as they change, deployed, followed, taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.e2e.cli_stand import Place, place, wait

if TYPE_CHECKING:
    from collections.abc import Generator

USER = "00000000-0000-4000-8000-000000000001"
SHARED = 'export const greet = (name: string) => "hi " + name;\n'
TOTAL = """// @public
// @description Adds up.
import { greet } from "../_shared/util.ts";
export default () => new Response(greet("shop"));
"""


@pytest.fixture
def here() -> Generator[Place]:
    with place() as made:
        yield made


def put(here: Place, name: str, text: str) -> None:
    path = here.folder / "functions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def synced(here: Place, *words: str) -> list[tuple[str, str, str]]:
    done = here.run("functions", "sync", "-o", "json", *words)
    assert done.code == 0, done.err
    return [(row["action"], row["namespace"], row["name"]) for row in done.json]


def test_a_function_is_begun_and_served_anew_with_every_change(here: Place) -> None:
    made = here.run("functions", "new", "hello")
    assert made.code == 0, made.err
    assert "functions/hello/index.ts" in made.out
    assert here.run("functions", "new", "hello").code == 2
    wanted = ["--scopes", "execute:functions", "--user-id", USER, "-o", "json"]
    with here.serving("--port", "0", command=("functions", "serve")) as server:
        key = here.run("clientkeys", "create", "--name", "caller", *wanted).json["key"]

        def answer() -> str:
            headers = {"X-Client-Key": key, "Content-Type": "application/json"}
            url = f"{server.url}/api/v1/functions/hello"
            return httpx2.post(url, json={"name": "moon"}, headers=headers, timeout=20).text

        server.wait_for_log("found: default.hello")
        assert answer() == '{"message":"Hello, moon!","caller":"caller"}'
        server.wait_for_log("default.hello  info   greeting moon")
        path = here.folder / "functions" / "hello" / "index.ts"
        path.write_text(path.read_text().replace("Hello", "Bye"))
        wait(lambda: "Bye, moon!" in answer(), "the change")
        path.write_text(path.read_text() + "\nexport const broken: = 3;\n")
        server.wait_for_log("error: hello/index.ts")
        assert "Bye, moon!" in answer()
    assert here.run("functions", "list", "-o", "json").json == []


def test_a_folder_is_deployed_invoked_rolled_back_and_followed(here: Place) -> None:
    put(here, "_shared/util.ts", SHARED)
    put(here, "shop/total.ts", TOTAL)
    put(here, "fails.ts", "// @public\nexport default () => { throw new Error('on purpose') }\n")
    assert synced(here, "--dry-run") == [
        ("would be deployed", "default", "fails"),
        ("would be deployed", "shop", "total"),
    ]
    assert here.run("functions", "list", "-o", "json").json == []
    assert [action for action, *_ in synced(here)] == ["deployed", "deployed"]
    shown = here.run("functions", "invoke", "total", "--namespace", "shop")
    assert (shown.code, shown.out) == (0, "hi shop")
    failed = here.run("functions", "invoke", "fails")
    assert failed.code == 1
    assert "the function threw Error: on purpose" in failed.err
    logs = here.run("functions", "logs", "fails")
    assert "fails.ts:2:" in logs.out
    put(here, "shop/total.ts", TOTAL.replace('greet("shop")', 'greet("new")'))
    done = here.run("functions", "deploy", "total", "--namespace", "shop", "-o", "json")
    assert done.json[0]["version"] == 2
    assert here.run("functions", "rollback", "total", "--namespace", "shop", "-o", "json").json == {
        "namespace": "shop", "name": "total", "version": 1, "before": 2,
    }  # fmt: skip
    assert here.run("functions", "invoke", "total", "--namespace", "shop").out == "hi shop"
    versions = here.run("functions", "versions", "total", "--namespace", "shop", "-o", "json").json
    assert [v["active"] for v in versions] == [False, True]
    (here.folder / "functions" / "fails.ts").unlink()
    assert ("deleted", "default", "fails") in synced(here)
    put(here, "shop/total.ts", "// @public\nconst x: = 1")
    wrong = here.run("functions", "sync")
    assert (wrong.code, "shop/total.ts" in wrong.err) == (2, True)
    assert here.run("functions", "rm", "total", "--namespace", "shop", "--yes").code == 0
    assert here.run("functions", "list", "-o", "json").json == []
