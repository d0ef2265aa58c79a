"""The part of the benchmark about code that runs beside the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.bench import functions, jobs
from tests.bench.report import machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.world import World

PART: Final = "compute"
_HOW: Final = """\
Functions are called over one kept connection, one call after another, with all of keys, limits and
records on; medians. *Cold* is the first call of a function that has no process yet. `deno serve`
runs the same handler without any of it, and is timed from its start to its first answer. Jobs wait
already when their worker starts, and are timed from when the first begins to the end of all."""


async def measured(world: World) -> dict[str, Any]:
    """Return the figures, by room."""
    return {"functions": await functions.measured(world), "jobs": await jobs.measured(world)}


def ratios(part: Mapping[str, Any]) -> list[str]:
    """Return what came of it in words."""
    return [*functions.ratios(part["functions"]), *jobs.ratios(part["jobs"])]


def section(part: Mapping[str, Any]) -> str:
    """Return the section of the page, in Markdown."""
    facts = part["facts"]
    return "\n\n".join(
        [
            "## Compute rooms",
            f"Measured on {facts['measured']} on {machine(facts)}.",
            "\n".join(f"- {line}" for line in ratios(part)),
            _HOW,
        ]
    )
