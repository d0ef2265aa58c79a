"""What was lost since an earlier run is told by ratios, not by rates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.__main__ import main
from tests.bench.results import Results, as_json, from_json
from tests.bench.targets import regressed
from tests.unit.bench.runs import run, without

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {
    "measured": "2026-01-02",
    "rounds": 3,
    "seconds": 4,
    "machine": {"cpu": "a processor", "cores": 2, "system": "Linux 6.1"},
    "versions": {"Postgres": "18.0"},
}
BEFORE = run(fluxbase=5000.0, starlette_1=5000.0)


def kept(results: Results, path: Path) -> str:
    path.write_text(json.dumps({"facts": FACTS, **as_json(results)}), "utf-8")
    return str(path)


@pytest.mark.parametrize("lost", [0.16, 0.3, 0.9])
def test_a_ratio_that_fell_by_more_than_15_percent_is_a_regression(lost: float) -> None:
    now = run(fluxbase=5000.0 * (1 - lost), starlette_1=5000.0)
    (said,) = regressed(now, BEFORE)
    assert said == (
        f"Fluxbase fell from 1.00 to {1 - lost:.2f} x bare Starlette, 1 trip, pinned role, "
        f"by {lost:.0%}; 15% are allowed"
    )


@pytest.mark.parametrize("lost", [-0.5, 0.0, 0.14])
def test_a_ratio_that_fell_by_less_or_rose_is_none(lost: float) -> None:
    assert regressed(run(fluxbase=5000.0 * (1 - lost), starlette_1=5000.0), BEFORE) == []


def test_a_slower_machine_is_no_regression() -> None:
    assert regressed(run(fluxbase=500.0, starlette_1=500.0), BEFORE) == []


def test_a_run_without_either_of_the_two_cannot_be_compared() -> None:
    (said,) = regressed(without(run(), "starlette-1"), BEFORE)
    assert said == ("cannot compare: bare Starlette, 1 trip, pinned role took no part in this run")
    (said,) = regressed(run(), without(BEFORE, "fluxbase"))
    assert said == "cannot compare: Fluxbase took no part in the earlier run"


def test_results_survive_being_written_down() -> None:
    results = without(run(), "toolbox", "not made for this machine")
    assert from_json(json.loads(json.dumps(as_json(results)))) == results


def test_the_command_fails_on_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept(BEFORE, tmp_path / "before.json")
    now = kept(run(fluxbase=4200.0, starlette_1=5000.0), tmp_path / "now.json")
    assert main(["--from", now]) == 0
    assert main(["--from", now, "--against", before]) == 1
    assert "MISSED: Fluxbase fell from 1.00 to 0.84" in capsys.readouterr().out
    assert main(["--from", now, "--against", before, "--no-targets"]) == 0
    assert main(["--from", before, "--against", before]) == 0


def test_the_command_fails_on_a_missed_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = kept(run(fluxbase=3000.0), tmp_path / "slow.json")
    assert main(["--from", slow]) == 1
    said = capsys.readouterr().out
    assert "MISSED: calls/s of Fluxbase at least 0.8 x bare Starlette" in said
    assert "MISSED: calls/s of Fluxbase at least 0.9 x MCP Toolbox" in said
    assert main(["--from", slow, "--no-targets"]) == 0
