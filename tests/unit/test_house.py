"""The rules of the house that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fluxbase.app.rooms import toolbox
from fluxbase.config import Config
from fluxbase.reference import pages

ROOT = Path(__file__).resolve().parents[2]
CEILING = 400
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers"}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_file_is_longer_than_the_ceiling() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in sources("fluxbase", "tests", "bench")
    }
    assert {name: n for name, n in lengths.items() if n > CEILING} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in sources("fluxbase") if path.stem in FORBIDDEN] == []


def test_every_module_says_what_it_is() -> None:
    for path in sources("fluxbase"):
        assert path.read_text("utf-8").startswith('"""'), path


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_file_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == pages()[name], "run `make docs`"


def test_every_tool_is_called_by_a_test() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in sources("tests/integration"))
    called = set(re.findall(r"""call\(\s*["'](\w+)["']""", tests))
    assert set(toolbox(Config()).tools) - called == set()


def test_every_resource_is_read_by_a_test() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in sources("tests/integration"))
    missing = [
        resource.uri
        for resource in toolbox(Config()).resources.values()
        if resource.uri.partition("{")[0].removesuffix("/") not in tests
    ]
    assert missing == []


def test_every_migration_and_query_says_what_it_does() -> None:
    for path in (ROOT / "sql" / "migrations").glob("*.sql"):
        assert path.read_text("utf-8").startswith("-- "), path
    for path in (ROOT / "sql" / "queries").glob("*.sql"):
        blocks = re.findall(
            r"^-- \w+\([^)]*\)(?: reads)?\n(.*)$", path.read_text("utf-8"), re.MULTILINE
        )
        assert all(line.startswith("-- ") for line in blocks), path


def test_decisions_are_short_and_numbered() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for place, path in enumerate(decisions, start=1):
        assert path.name.startswith(f"{place:04}-"), path
        assert len(path.read_text("utf-8").splitlines()) <= 60, path


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text("utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []
