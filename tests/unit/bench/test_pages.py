"""The tables, the page and the picture say what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.bench import page
from tests.bench.chart import chart
from tests.bench.report import aligned, markdown
from tests.bench.results import as_json
from tests.bench.roster import ENTRIES, GROUPS, OURS, ROSTER
from tests.bench.stage import CONTESTANTS
from tests.unit.bench.runs import GOOD, run, with_sample, without
from tests.unit.bench.test_regression import FACTS

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def bars(picture: str) -> dict[str, float]:
    """Return the bars' lengths by what is written before them."""
    found: dict[str, float] = {}
    label = ""
    for element in ElementTree.fromstring(picture):  # noqa: S314 - our own picture
        if element.tag == f"{SVG}text" and element.get("text-anchor") == "end":
            label = element.text or ""
        elif element.tag == f"{SVG}rect":
            found.setdefault(label, float(element.get("width", 0)))
    return found


def test_a_bar_is_as_long_as_its_rate_and_ours_stand_out() -> None:
    picture = chart(run(), "a machine")
    lengths = bars(picture)
    assert lengths["bare Starlette, 1 trip, pinned role"] == 400
    assert lengths["Fluxbase"] == pytest.approx(400 * 5000 / 5500, abs=1)
    assert lengths["FastMCP + asyncpg, 5 trips"] == pytest.approx(400 * 400 / 5500, abs=1)
    assert picture.count('class="ours"') == 2  # one in each of the two groups
    assert "prefers-color-scheme: dark" in picture


def test_the_picture_shows_only_servers() -> None:
    results = with_sample(run(), "pgbench-1", replace(GOOD["fluxbase"], rate=20_000.0))
    assert bars(chart(results, "")) == bars(chart(run(), ""))


def test_the_table_has_a_row_for_everyone_and_says_how_many_times_faster() -> None:
    for text in (aligned(run()), markdown(run())):
        row = next(line for line in text.splitlines() if "MCP Toolbox" in line)
        assert re.findall(r"[\d.,]+", row)[-1] == "1.11"
        assert "4,500" in row
        assert GROUPS["ten"] in text
        assert GROUPS["embedded"] in text
        assert GROUPS["insert"] not in text


def test_who_was_left_out_is_said_with_the_reason() -> None:
    results = without(run(), "toolbox", "not made for this machine")
    for text in (aligned(results), markdown(results)):
        assert "Left out: MCP Toolbox (10 rows of 100,000). Why: not made for this machine" in text


def test_the_page_is_written_with_its_picture(tmp_path: Path) -> None:
    page.write({"facts": FACTS, **as_json(run(fluxbase=3000.0))}, tmp_path / "docs")
    text = (tmp_path / "docs" / "benchmark.md").read_text("utf-8")
    assert "](bench.svg)" in text
    assert (tmp_path / "docs" / "bench.svg").exists()
    assert "- missed: calls/s of Fluxbase at least 0.8 x bare Starlette" in text
    assert "- met: calls/s of Fluxbase at least 10 x" not in text
    assert "medians of 3 rounds of 4 s each" in text
    assert "MCP Toolbox: no credentials, limits or audit; one fixed" in text


def test_every_peer_says_how_its_work_differs() -> None:
    silent = [e.name for e in ROSTER if not e.note and not e.name.startswith("fluxbase")]
    assert silent == []


def test_everyone_on_the_roster_can_be_asked() -> None:
    assert list(ENTRIES) == list(CONTESTANTS)
    assert set(OURS) == set(GROUPS)
    assert {ENTRIES[name].group for name in OURS.values()} == set(GROUPS)
