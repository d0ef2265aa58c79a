"""Writes the page about speed and its picture from a run that was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench import compute
from tests.bench.chart import chart
from tests.bench.report import lengths, machine, markdown, notes
from tests.bench.results import from_json
from tests.bench.roster import GROUPS, ROOMS
from tests.bench.section import section
from tests.bench.targets import judged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HOW = """\
All servers run at the same time on one machine, against one Postgres with its usual durability
and without a checkpoint during the run, and are asked one after the other; in every round another
one begins, and one round before the first is not counted. The client is `wrk` with one thread and
16 kept connections over the loopback; each contestant is warmed up for a second before it is
measured. What can be told has a pool of 16 connections to Postgres, through its socket. Before it
is measured, each contestant's answer is looked at: the right rows, of the right user. During the
measurement, answers of another length or status count as errors, and inserted rows are counted in
the table.

The tables hold 100,000 tasks of 991 users with their projects and comments, all under the same
row-level security policy: `user_id = (SELECT auth.uid())`.

*CPU* is processor time of the server and all its children for each call, *database* that of all
of Postgres, *MiB* the resident memory of the server. Times and rates are medians of the rounds.
*Fluxbase is* says how many times faster Fluxbase is than the row: the median of the rounds' own
ratios, because what slows a machine slows neighbours alike."""
_RUNNING = """\
| | |
| --- | --- |
| `make bench` | everything; some twenty minutes, all samples go to `bench-results.json` |
| `make bench ARGS="--quick --no-targets"` | one round of a second each, to see that it runs |
| `make bench ARGS="--only ten,embedded"` | some of: GROUPS, or `peers`, which is all of them |
| `make bench ARGS="--only rooms --vectors 100000"` | only the data rooms, with more vectors |
| `make bench ARGS="--only compute"` | only functions and jobs |
| `make bench ARGS="--against OLD.json"` | fails too when 15 % against the bare route were lost |
| `make bench ARGS="--write docs"` | writes this page and its picture |
| `make bench ARGS="--from bench-results.json --write docs"` | the same without measuring again |"""


def page(kept: Mapping[str, Any]) -> str:
    """Return the page in Markdown; the picture lies beside it as `bench.svg`."""
    results, facts = from_json(kept), _facts(kept)
    rooms = [section(kept["rooms"])] if "rooms" in kept else []
    rooms += [compute.section(kept[compute.PART])] if compute.PART in kept else []
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    targets = [f"- {_mark(verdict.held)}: {verdict.text}" for verdict in judged(results)]
    parts = [
        "# Benchmark",
        '<!-- Made by `make bench ARGS="--write docs"`. -->',
        f"Measured on {facts['measured']} on {machine(facts)}: {lengths(facts)}. "
        "Rates differ from machine to machine; the ratios are what counts.",
        "![Calls per second of Fluxbase and its peers](bench.svg)",
        "## Results",
        markdown(results),
        "## Targets",
        "`make bench` fails when one of these is missed.",
        "\n".join(targets),
        "## How it was measured",
        _HOW,
        "## Running it",
        _RUNNING.replace(
            "GROUPS", ", ".join(f"`{group}`" for group in GROUPS if group not in ROOMS)
        ),
        "## What is not equal work",
        "\n".join(notes(results)),
        f"Versions: {versions}.",
        *rooms,
    ]
    return "\n\n".join(parts) + "\n"


def write(kept: Mapping[str, Any], folder: Path) -> None:
    """Write `benchmark.md` and `bench.svg` into a folder."""
    results, facts = from_json(kept), _facts(kept)
    folder.mkdir(parents=True, exist_ok=True)
    footer = f"{machine(facts)}; Postgres {facts['versions']['Postgres']}; {lengths(facts)}"
    (folder / "benchmark.md").write_text(page(kept), "utf-8")
    (folder / "bench.svg").write_text(chart(results, footer), "utf-8")


def _facts(kept: Mapping[str, Any]) -> Mapping[str, Any]:
    # Without a run of the peers there are only those of the rooms.
    return kept.get("facts") or kept["rooms"]["facts"]


def _mark(held: bool | None) -> str:
    return {True: "met", False: "missed", None: "not judged"}[held]
