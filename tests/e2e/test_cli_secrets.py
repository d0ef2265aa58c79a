"""Secrets by the command line: typed, piped or from a file, and never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, place

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture
def here() -> Generator[Place]:
    with place() as made:
        yield made


def names(here: Place, *words: str) -> list[tuple[str, str]]:
    done = here.run("secrets", "list", "-o", "json", *words)
    assert "canary" not in done.out
    return [(row["namespace"], row["name"]) for row in done.json]


def test_the_life_of_secrets(here: Place) -> None:
    assert here.bash("printf 'canary 1\\n' | fluxbase secrets set ONE").code == 0
    (here.folder / "two.env").write_text("# two\nTWO='canary 2'\nexport THREE=canary3\n")
    done = here.run("secrets", "set", "--env-file", "two.env", "--namespace", "*")
    assert (done.code, done.out.strip()) == (0, "set TWO, THREE")
    every = [("*", "THREE"), ("*", "TWO"), ("default", "ONE")]
    assert sorted(names(here)) == every
    assert names(here, "--namespace", "default") == [("default", "ONE")]
    assert here.run("secrets", "rotate").out.strip() == "0 encrypted anew"
    assert here.run("secrets", "rm", "ONE").code == 2
    assert here.run("secrets", "rm", "ONE", "--yes").code == 0
    gone = here.run("secrets", "rm", "ONE", "--yes")
    assert (gone.code, "no such secret" in gone.err) == (1, True)
    assert names(here, "--namespace", "default") == []


def test_what_is_wrong_is_told_without_the_value_and_sets_nothing(here: Place) -> None:
    (here.folder / "bad.env").write_text("GOOD=canary\nDENO_DIR=canary\n")
    for done, said in (
        (here.bash("printf canary | fluxbase secrets set lower"), "capitals"),
        (here.bash("printf 'canary\\377' | fluxbase secrets set ONE"), "UTF-8"),
        (here.bash("printf '' | fluxbase secrets set ONE"), "empty"),
        (here.bash("printf canary | fluxbase secrets set ONE --namespace Big"), "namespace"),
        (here.run("secrets", "set", "--env-file", "bad.env"), "DENO_"),
        (here.run("secrets", "set"), "either"),
        (here.run("secrets", "set", "ONE", "canary"), "argument"),
    ):
        assert done.code == 2, done
        assert said in done.err, done
        assert "canary" not in done.err + done.out or "extra argument" in done.err
    assert names(here) == []
