"""Runs the benchmark and judges it; `python -m tests.bench --help` lists what can be asked."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from tests.bench import compute, page, rooms
from tests.bench.facts import facts
from tests.bench.report import aligned, groups, markdown
from tests.bench.results import Results, as_json, from_json
from tests.bench.roster import ENTRIES, GROUPS, OURS, ROOMS, ROSTER, title
from tests.bench.section import ratios
from tests.bench.stage import on_stage
from tests.bench.targets import COMPARED, judged, missed, regressed
from tests.bench.transfers import TRANSFERS
from tests.bench.world import open_world
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.load import Contestant, Http
    from tests.bench.sample import Sample
    from tests.bench.world import World

_PARTS: Final = {"peers": [group for group in GROUPS if group not in ROOMS], "rooms": [*ROOMS]}


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, choices=range(1, 11), default=3, metavar="1-10")
    add("--seconds", type=int, choices=range(1, 61), default=4, metavar="1-60")
    add("--quick", action="store_true", help="one round of one second each")
    names = ", ".join((*_PARTS, compute.PART, *GROUPS))
    add("--only", default="", help=f"parts, groups or contestants, by commas: {names}")
    add("--vectors", type=int, default=20_000, metavar="N", help="rows of the table of vectors")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--no-targets", action="store_true", help="end well whatever comes out")
    add("--json", type=Path, default=ROOT / "bench-results.json", help="where all samples go")
    add("--write", type=Path, metavar="FOLDER", help="write benchmark.md and bench.svg there")
    add("--from", type=Path, dest="kept", metavar="JSON", help="measure nothing, take these")
    add("--against", type=Path, metavar="JSON", help="fail when Fluxbase lost 15 %% since then")
    options = parser.parse_args(words)
    if options.quick:
        options.rounds = options.seconds = 1
    asked = {word for word in options.only.split(",") if word} or {compute.PART, *GROUPS}
    options.compute = compute.PART in asked
    asked.discard(compute.PART)
    for part in asked & set(_PARTS):
        asked = asked - {part} | set(_PARTS[part])
    if unknown := asked - set(GROUPS) - set(ENTRIES):
        parser.error(f"neither groups nor contestants: {', '.join(sorted(unknown))}")
    chosen = {entry.name for entry in ROSTER if {entry.name, entry.group} & asked}
    chosen |= {OURS[ENTRIES[name].group] for name in chosen}
    options.peers, options.rooms = (
        [entry.name for entry in ROSTER if entry.name in chosen and entry.group in groups]
        for groups in _PARTS.values()
    )
    return options


def _measure(ready: dict[str, Contestant], options: argparse.Namespace) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in ready}
    # Not counted: on a machine that was idle, whoever is first would be the slowest.
    for contestant in ready.values():
        contestant.measure(1)
    for number in range(options.rounds):
        for names in groups(Results(samples)).values():
            # Whose ratios are judged come next to each other, because what slows one slows its
            # neighbour. Each round begins elsewhere, so that nobody always follows the same one.
            names.sort(key=lambda name: name not in COMPARED)
            start = number * len(names) // options.rounds
            for name in names[start:] + names[:start]:
                sample = ready[name].measure(options.seconds)
                samples[name].append(sample)
                sys.stderr.write(f"round {number + 1}: {title(name)}: {sample.rate:.0f}/s\n")
    return samples


def _run(world: World, options: argparse.Namespace) -> dict[str, Any]:
    before = facts(world.version, options.rounds, options.seconds)
    with on_stage(world, options.peers) as (ready, left_out):
        results = Results(_measure(ready, options), left_out)
    return {"facts": before, **as_json(results)}


def _run_rooms(furnished: rooms.Rooms, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the rooms, one after another where they keep their bytes in another place."""
    world = furnished.world
    found: dict[str, Any] = {"facts": facts(world.version, options.rounds, options.seconds)}
    samples: dict[str, list[Sample]] = {}
    left_out: dict[str, str] = {}
    for names in _by_place(options.rooms):
        rooms.empty(world)
        with on_stage(world, names) as (ready, absent):
            left_out |= absent
            if searching := ready.get(OURS["vectors"]):
                found["vectors"] = furnished.searched(cast("Http", searching))
            samples |= _measure(ready, options)
    return {**found, **as_json(Results(samples, left_out))}


def _by_place(names: Iterable[str]) -> list[list[str]]:
    places: dict[str, list[str]] = {}
    for name in names:
        transfer = TRANSFERS.get(ENTRIES[name].group)
        places.setdefault(transfer.place if transfer else "", []).append(name)
    return [*places.values()]


async def _measured(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    async with open_world(home) as world:
        found: dict[str, Any] = {}
        if options.peers:
            found = await asyncio.to_thread(_run, world, options)
        if options.rooms:
            furnished = await rooms.furnish(world, options.vectors)
            found["rooms"] = await asyncio.to_thread(_run_rooms, furnished, options)
        if options.compute:
            before = facts(world.version, options.rounds, options.seconds)
            found[compute.PART] = {"facts": before, **await compute.measured(world)}
        return found


def _found(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure in a directory that is gone afterwards, or take what was measured before.

    Returns what was measured, and that with the part of an earlier run that was not asked for.
    """
    if options.kept is not None:
        kept = json.loads(options.kept.read_text("utf-8"))
        return kept, kept
    # The account that runs Postgres has to reach it.
    home = Path(tempfile.mkdtemp(prefix="fluxbase-bench-"))
    home.chmod(0o755)
    try:
        found = asyncio.run(_measured(options, home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    kept: dict[str, Any] = {}
    if options.json.exists():
        kept = json.loads(options.json.read_text("utf-8"))
    kept |= found
    options.json.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    return found, kept


def _parts(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the peers' part and the rooms', as far as they took part."""
    return [part for part in (found, found.get("rooms", {})) if "contestants" in part]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and judge; 1 when a target was missed or an earlier run was better."""
    options = _options(words)
    before = json.loads(options.against.read_text("utf-8")) if options.against else None
    found, kept = _found(options)
    results = from_json(found)
    for part in _parts(found):
        sys.stdout.write((markdown if options.markdown else aligned)(from_json(part)) + "\n\n")
    lines = ratios(found["rooms"]) if "rooms" in found else []
    lines += compute.ratios(found[compute.PART]) if compute.PART in found else []
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if options.write is not None:
        page.write(kept, options.write)
    for verdict in judged(results):
        if verdict.held is not False:
            sys.stdout.write(f"{'met' if verdict.held else 'NOT JUDGED'}: {verdict.text}\n")
    failed = [line for part in _parts(found) for line in missed(from_json(part))]
    if before is not None:
        failed += regressed(results, from_json(before))
    for line in failed:
        sys.stdout.write(f"MISSED: {line}\n")
    return 1 if failed and not options.no_targets else 0


if __name__ == "__main__":
    sys.exit(main())
