"""What a run came to, as medians and ratios; it neither measures nor judges nor prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Results:
    """The samples of every contestant, one for each round, in the same order for all."""

    samples: Mapping[str, Sequence[Sample]]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    def middle(self, name: str) -> Sample:
        """Return the medians of a contestant; its errors are summed."""
        rounds = [asdict(sample) for sample in self.samples[name]]
        values = {key: median(sample[key] for sample in rounds) for key in rounds[0]}
        return Sample(**{**values, "errors": sum(sample["errors"] for sample in rounds)})

    def rates(self, name: str) -> list[float]:
        """Return a contestant's rate in each round."""
        return [sample.rate for sample in self.samples[name]]

    def ratio(self, name: str, to: str, what: str = "rate") -> float:
        """Return `name`'s figure as a multiple of `to`'s: the median of the rounds' own ratios.

        A round's contestants ran one after another, so what slowed one slowed its neighbour.
        """
        pairs = zip(self.samples[name], self.samples[to], strict=True)
        return median(getattr(one, what) / getattr(other, what) for one, other in pairs)

    def errors(self) -> list[str]:
        """Return the names of contestants with wrong answers."""
        return [name for name in self.samples if self.middle(name).errors]


def as_json(results: Results) -> dict[str, Any]:
    """Return every sample, with the medians for who only looks."""
    return {
        "contestants": {
            name: {
                "median": asdict(results.middle(name)),
                "rounds": [asdict(sample) for sample in samples],
            }
            for name, samples in results.samples.items()
        },
        "left_out": dict(results.left_out),
    }


def from_json(kept: Mapping[str, Any]) -> Results:
    """Return the results that `as_json` wrote."""
    names = {one.name for one in fields(Sample)}
    samples = {
        name: [
            Sample(**{key: value for key, value in sample.items() if key in names})
            for sample in contestant["rounds"]
        ]
        for name, contestant in kept.get("contestants", {}).items()
    }
    return Results(samples, kept.get("left_out", {}))
