"""Procedures by the command line: published from files, all or nothing, and called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, place

if TYPE_CHECKING:
    from collections.abc import Generator

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
