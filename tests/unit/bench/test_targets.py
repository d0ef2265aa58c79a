"""A missed target is said in words, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.results import Results
from tests.bench.targets import TARGETS, Target, judged, missed
from tests.unit.bench.runs import GOOD, run, with_sample, without

if TYPE_CHECKING:
    from tests.bench.sample import Sample


def at_ratio(target: Target, ratio: float) -> Results:
    """Return a good run in which our figure is so many times the peer's."""
    peer = GOOD[target.peer]
    figure = getattr(GOOD[target.ours], target.what) / ratio
    return with_sample(run(), target.peer, replace(peer, **{target.what: figure}))


def test_a_run_that_meets_all_targets_misses_none() -> None:
    assert missed(run()) == []
    assert [verdict.held for verdict in judged(run())] == [True] * len(TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_figure_just_beyond_its_target_is_missed_and_named(target: Target) -> None:
    worse = target.bound * (1.01 if target.sign == "less than" else 0.99)
    (said,) = missed(at_ratio(target, worse))
    assert said == f"{target}: it is {worse:.2f} x"


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_figure_just_within_its_target_is_met(target: Target) -> None:
    better = target.bound * (0.99 if target.sign == "less than" else 1.01)
    assert missed(at_ratio(target, better)) == []


def test_the_targets_are_those_that_were_promised() -> None:
    assert [(t.ours, t.peer, t.what, t.sign, t.bound) for t in TARGETS] == [
        ("fluxbase", "starlette-1", "rate", "at least", 0.8),
        ("fluxbase", "toolbox", "rate", "at least", 0.9),
        ("fluxbase", "toolbox", "p99_ms", "less than", 1.0),
        ("fluxbase", "postgrest", "rate", "at least", 2.0),
        ("fluxbase", "fastmcp", "rate", "at least", 10.0),
        ("fluxbase-embedded", "postgrest-embedded", "rate", "more than", 1.0),
    ]


def test_being_as_fast_is_not_being_faster() -> None:
    embedded = next(target for target in TARGETS if target.sign == "more than")
    assert len(missed(at_ratio(embedded, 1.0))) == 1


def test_rounds_that_others_disturbed_change_no_ratio() -> None:
    def with_rates(name: str, *rates: float) -> list[Sample]:
        return [replace(GOOD[name], rate=rate) for rate in rates]

    # The machine was ten times slower in the second round; a neighbour cost us the third, and the
    # other the fourth.
    samples = {
        "fluxbase": with_rates("fluxbase", 900.0, 90.0, 100.0, 900.0, 900.0),
        "starlette-1": with_rates("starlette-1", 1000.0, 100.0, 1000.0, 100.0, 1000.0),
    }
    assert Results(samples).ratio("fluxbase", "starlette-1") == pytest.approx(0.9)
    assert missed(Results(samples)) == []


def test_a_wrong_answer_is_a_miss_however_fast_it_came() -> None:
    wrong = with_sample(run(), "toolbox", replace(GOOD["toolbox"], errors=2))
    assert missed(wrong) == ["MCP Toolbox (10 rows of 100,000): 6 wrong answers"]


def test_targets_are_missed_when_fluxbase_was_left_out() -> None:
    said = missed(without(run(), "fluxbase-embedded", "it answers an error"))
    assert len(said) == 1
    assert said[0].endswith(
        "(10 tasks, each with its project and its comments): Fluxbase was left out"
    )


def test_a_peer_that_does_not_run_here_is_said_and_is_no_miss() -> None:
    results = without(run(), "toolbox", "not made for this machine")
    assert missed(results) == []
    unjudged = [verdict.target for verdict in judged(results) if verdict.held is None]
    assert unjudged == [target for target in TARGETS if target.peer == "toolbox"]


def test_a_group_that_was_not_asked_for_is_not_judged() -> None:
    results = without(without(run(), "fluxbase-embedded"), "postgrest-embedded")
    assert [verdict.target.ours for verdict in judged(results)] == ["fluxbase"] * 5
