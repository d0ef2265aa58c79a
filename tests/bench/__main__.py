"""Runs the benchmark: `python -m tests.bench [--quick] [--markdown] [--no-targets]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contestants import BARE, FASTMCP, FLUXBASE, LABELS, contestants
from tests.bench.report import Results, aligned, as_json, markdown
from tests.bench.world import open_world
from tests.programs import ROOT

if TYPE_CHECKING:
    from tests.bench.load import Contestant, Sample

_ALWAYS = (FLUXBASE, BARE, FASTMCP)  # the targets need them


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, choices=range(1, 11), default=3)
    parser.add_argument("--seconds", type=int, choices=range(1, 61), default=4, metavar="1-60")
    parser.add_argument("--quick", action="store_true", help="one round of one second each")
    parser.add_argument("--only", help="some contestants, comma-separated: " + ", ".join(LABELS))
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--no-targets", action="store_true", help="end well whatever comes out")
    parser.add_argument("--json", type=Path, default=ROOT / "bench-results.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.seconds = 1
    wanted = [name for name in (options.only or "").split(",") if name]
    if unknown := set(wanted) - set(LABELS):
        parser.error(f"unknown contestants: {', '.join(sorted(unknown))}")
    options.wanted = {*wanted, *_ALWAYS} if wanted else set(LABELS)
    return options


def _measure(chosen: dict[str, Contestant], rounds: int, seconds: float) -> Results:
    samples: dict[str, list[Sample]] = {name: [] for name in chosen}
    names = list(chosen)
    for number in range(rounds):
        # Each round begins elsewhere, so that nobody always follows the same neighbour.
        start = number * len(names) // rounds
        for name in names[start:] + names[:start]:
            sample = chosen[name].measure(seconds)
            samples[name].append(sample)
            sys.stderr.write(f"round {number + 1}: {LABELS[name]}: {sample.rate:.0f}/s\n")
    return Results(samples)


async def _run(options: argparse.Namespace, home: Path) -> int:
    async with open_world(home) as world:

        def measured() -> Results:
            with contestants(world) as every:
                chosen = {name: it for name, it in every.items() if name in options.wanted}
                return _measure(chosen, options.rounds, options.seconds)

        results = await asyncio.to_thread(measured)
        kept = as_json(results, world.version, options.seconds)
    options.json.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    sys.stdout.write((markdown if options.markdown else aligned)(results) + "\n")
    for line in results.missed():
        sys.stdout.write(f"MISSED {line}\n")
    return 1 if results.missed() and not options.no_targets else 0


def main() -> int:
    """Measure in a directory that is gone afterwards; 1 when a target was missed."""
    options = _options()
    # The account that runs Postgres has to reach it.
    home = Path(tempfile.mkdtemp(prefix="fluxbase-bench-"))
    home.chmod(0o755)
    try:
        return asyncio.run(_run(options, home))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
