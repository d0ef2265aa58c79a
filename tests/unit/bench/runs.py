"""Made-up runs of the benchmark for the tests of its judgement."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.bench.results import Results
from tests.bench.sample import Sample

# A run in which every target is met with room to spare.
GOOD: Final = {
    "fluxbase": Sample(5000.0, 3.0, 8.0, 0, 200.0, 100.0, 70.0),
    "starlette-1": Sample(5500.0, 3.0, 7.0, 0, 100.0, 80.0, 50.0),
    "toolbox": Sample(4500.0, 3.0, 17.0, 0, 180.0, 80.0, 100.0),
    "postgrest": Sample(1700.0, 8.0, 30.0, 0, 280.0, 240.0, 30.0),
    "fastmcp": Sample(400.0, 38.0, 110.0, 0, 1600.0, 260.0, 100.0),
    "fluxbase-embedded": Sample(3000.0, 5.0, 10.0, 0, 300.0, 200.0, 70.0),
    "postgrest-embedded": Sample(1500.0, 9.0, 30.0, 0, 400.0, 300.0, 30.0),
}


def run(rounds: int = 3, **rates: float) -> Results:
    """Return a good run in which some contestants (`starlette_1`) had another rate."""
    samples = {name: [sample] * rounds for name, sample in GOOD.items()}
    for word, rate in rates.items():
        name = word.replace("_", "-")
        samples[name] = [replace(GOOD[name], rate=rate)] * rounds
    return Results(samples)


def with_sample(results: Results, name: str, sample: Sample) -> Results:
    """Return a run in which one contestant measured this in every round."""
    rounds = len(next(iter(results.samples.values())))
    return Results({**results.samples, name: [sample] * rounds}, results.left_out)


def without(results: Results, name: str, why: str | None = None) -> Results:
    """Return a run in which one contestant took no part, left out for a reason or never asked."""
    samples = {key: value for key, value in results.samples.items() if key != name}
    return Results(samples, {} if why is None else {name: why})
