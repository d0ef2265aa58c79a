"""What a run came to: medians, ratios, targets, and the table in two forms."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from tests.bench.contestants import BARE, BARE_MANY, FASTMCP, FLUXBASE, LABELS
from tests.bench.load import Sample
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What fluxbase's rate must be at least, as a multiple of another contestant's.
TARGETS: Final = ((BARE, 0.7), (FASTMCP, 6.0))
_HEAD: Final = (
    "contestant",
    "req/s",
    "(min-max)",
    "p50 ms",
    "p99 ms",
    "errors",
    "cpu us/call",
    "db us/call",
    "MiB",
    "vs Starlette",
    "vs FastMCP",
)


@dataclass(frozen=True, slots=True)
class Results:
    """The samples of every contestant, one for each round, in the same order for all."""

    samples: Mapping[str, Sequence[Sample]]

    def middle(self, name: str) -> Sample:
        """Return the medians of a contestant."""
        rounds = [asdict(sample) for sample in self.samples[name]]
        values = {key: median(sample[key] for sample in rounds) for key in rounds[0]}
        return Sample(**{**values, "errors": sum(sample["errors"] for sample in rounds)})

    def ratio(self, name: str, to: str) -> float:
        """Return how many times faster `name` is: the median of the rounds' own ratios.

        A round's contestants ran one after another, so what slowed one slowed its neighbour.
        """
        pairs = zip(self.samples[name], self.samples[to], strict=True)
        return median(one.rate / other.rate for one, other in pairs)

    def missed(self) -> list[str]:
        """Return what did not hold, in words: errors first, then targets."""
        said = [
            f"{LABELS[name]}: {errors} wrong answers"
            for name in self.samples
            if (errors := self.middle(name).errors)
        ]
        for peer, least in TARGETS:
            ratio = self.ratio(FLUXBASE, peer)
            if ratio < least:
                said.append(f"fluxbase is {ratio:.2f} x {LABELS[peer]}; the target is {least}")
        return said

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table."""
        return [self._row(name) for name in self.samples]

    def _row(self, name: str) -> tuple[str, ...]:
        sample = self.middle(name)
        rates = [one.rate for one in self.samples[name]]
        bare = BARE_MANY if name in ("fluxbase-200", BARE_MANY) else BARE
        return (
            LABELS[name],
            f"{sample.rate:.0f}",
            f"{min(rates):.0f}-{max(rates):.0f}",
            f"{sample.p50_ms:.2f}",
            f"{sample.p99_ms:.2f}",
            str(sample.errors),
            f"{sample.cpu_us:.0f}",
            f"{sample.db_us:.0f}",
            f"{sample.rss_mib:.0f}" if sample.rss_mib else "",
            f"{self.ratio(name, bare):.2f}",
            f"{self.ratio(name, FASTMCP):.2f}",
        )


def aligned(results: Results) -> str:
    """Return the table for a terminal."""
    rows = [_HEAD, *results.rows()]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(results: Results) -> str:
    """Return the table for a README."""
    ruler = ["---"] + ["---:"] * (len(_HEAD) - 1)
    rows = [_HEAD, tuple(ruler), *results.rows()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_json(results: Results, postgres: str, seconds: float) -> dict[str, Any]:
    """Return everything measured, with what it was measured on."""
    return {
        "machine": _machine(),
        "versions": {
            "fluxbase": version("fluxbase"),
            "commit": _commit(),
            "python": platform.python_version(),
            "postgres": postgres,
            **{name: version(name) for name in ("asyncpg", "starlette", "uvicorn", "uvloop")},
        },
        "seconds": seconds,
        "contestants": {
            name: {
                "label": LABELS[name],
                "median": asdict(results.middle(name)),
                "rounds": [asdict(sample) for sample in samples],
                "vs_starlette": results.ratio(name, BARE),
                "vs_fastmcp": results.ratio(name, FASTMCP),
            }
            for name, samples in results.samples.items()
        },
        "targets": dict(TARGETS),
        "missed": results.missed(),
    }


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
