"""What must hold at the end of a run, and against an earlier one; it only looks at results."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.roster import ENTRIES, GROUPS, OURS, PINNED, title

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.results import Results

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    "at least": operator.ge,
    "more than": operator.gt,
    "less than": operator.lt,
}
_FIGURES: Final = {"rate": "calls/s", "p99_ms": "p99"}
FELL: Final = 0.15  # how much of an earlier ratio may be lost


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of ours that must be at least, more or less than a multiple of a peer's."""

    ours: str
    peer: str
    what: str
    sign: str
    bound: float

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        return _HOLDS[self.sign](ratio, self.bound)

    def __str__(self) -> str:
        peer = ENTRIES[self.peer]
        return (
            f"{_FIGURES[self.what]} of Fluxbase {self.sign} {self.bound:g} x {peer.label} "
            f"({GROUPS[peer.group]})"
        )


TARGETS: Final = (
    Target(OURS["ten"], PINNED, "rate", "at least", 0.8),
    Target(OURS["ten"], "toolbox", "rate", "at least", 0.9),
    Target(OURS["ten"], "toolbox", "p99_ms", "less than", 1.0),
    Target(OURS["ten"], "postgrest", "rate", "at least", 2.0),
    Target(OURS["ten"], "fastmcp", "rate", "at least", 10.0),
    Target(OURS["embedded"], "postgrest-embedded", "rate", "more than", 1.0),
)
COMPARED: Final = {name for target in TARGETS for name in (target.ours, target.peer)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with what came of it; `held` is None where it could not be judged."""

    target: Target
    held: bool | None
    text: str


def judged(results: Results) -> list[Verdict]:
    """Return a verdict on every target whose group took part.

    A target that cannot be judged because ours was left out is missed. A peer that does not run
    on this machine is nobody's fault.
    """
    verdicts: list[Verdict] = []
    for target in TARGETS:
        if target.ours in results.left_out:
            verdicts.append(Verdict(target, False, f"{target}: Fluxbase was left out"))
        elif target.peer in results.left_out:
            verdicts.append(Verdict(target, None, f"{target}: the other was left out"))
        elif target.ours in results.samples and target.peer in results.samples:
            ratio = results.ratio(target.ours, target.peer, target.what)
            verdicts.append(Verdict(target, target.holds(ratio), f"{target}: it is {ratio:.2f} x"))
    return verdicts


def missed(results: Results) -> list[str]:
    """Return what did not hold, in words: wrong answers first, then targets."""
    wrong = [
        f"{title(name)}: {results.middle(name).errors} wrong answers" for name in results.errors()
    ]
    return wrong + [verdict.text for verdict in judged(results) if verdict.held is False]


def regressed(results: Results, before: Results) -> list[str]:
    """Return in words by how much Fluxbase lost against the bare route since an earlier run.

    Rates differ from machine to machine; the ratio to a neighbour of the same run does not.
    """
    for which, one in (("this run", results), ("the earlier run", before)):
        if absent := {OURS["ten"], PINNED} - set(one.samples):
            names = " and ".join(sorted(ENTRIES[name].label for name in absent))
            return [f"cannot compare: {names} took no part in {which}"]
    now, then = (one.ratio(OURS["ten"], PINNED) for one in (results, before))
    if now >= then * (1 - FELL):
        return []
    return [
        f"Fluxbase fell from {then:.2f} to {now:.2f} x {ENTRIES[PINNED].label}, "
        f"by {1 - now / then:.0%}; {FELL:.0%} are allowed"
    ]
