"""The tables of a run, for a terminal and in Markdown; it judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.bench.roster import ENTRIES, GROUPS, OURS, ROSTER, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.results import Results

HEAD: Final = (
    "contestant",
    "calls/s",
    "(min-max)",
    "p50 ms",
    "p99 ms",
    "errors",
    "CPU us/call",
    "database us/call",
    "MiB",
    "Fluxbase is",
)


def groups(results: Results) -> dict[str, list[str]]:
    """Return the groups that took part, with their contestants in order."""
    found = {
        group: [e.name for e in ROSTER if e.group == group and e.name in results.samples]
        for group in GROUPS
    }
    return {group: names for group, names in found.items() if names}


def _row(results: Results, name: str) -> tuple[str, ...]:
    sample, rates, ours = results.middle(name), results.rates(name), OURS[ENTRIES[name].group]
    ratio = f"{results.ratio(ours, name):.2f} x" if ours in results.samples else ""
    return (
        ENTRIES[name].label,
        f"{sample.rate:,.0f}",
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        f"{sample.p50_ms:.2f}",
        f"{sample.p99_ms:.2f}",
        str(sample.errors),
        f"{sample.cpu_us:.0f}",
        f"{sample.db_us:.0f}",
        f"{sample.rss_mib:.0f}" if sample.rss_mib else "",
        ratio,
    )


def _rows(results: Results, names: Sequence[str]) -> list[tuple[str, ...]]:
    return [_row(results, name) for name in names]


def aligned(results: Results) -> str:
    """Return the tables for a terminal, columns in line."""
    tables = {group: _rows(results, names) for group, names in groups(results).items()}
    every = [HEAD, *(row for rows in tables.values() for row in rows)]
    widths = [max(len(row[n]) for row in every) for n in range(len(HEAD))]

    def line(cells: tuple[str, ...]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    blocks = [
        "\n".join([f"\n{GROUPS[group]}", line(HEAD), "-" * len(line(HEAD)), *map(line, rows)])
        for group, rows in tables.items()
    ]
    return "\n".join([*blocks, *(f"\n{line}" for line in _left_out(results))])


def markdown(results: Results) -> str:
    """Return the tables in Markdown, a heading over each."""
    ruler = ["---"] + ["---:"] * (len(HEAD) - 1)
    blocks: list[str] = []
    for group, names in groups(results).items():
        rows = [HEAD, tuple(ruler), *_rows(results, names)]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        blocks.append("\n".join([f"### {GROUPS[group]}", "", *lines]))
    return "\n\n".join([*blocks, *_left_out(results)])


def notes(results: Results) -> list[str]:
    """Return a line for each way in which work differs, naming who does."""
    who: dict[str, dict[str, None]] = {}
    for names in groups(results).values():
        for name in names:
            if ENTRIES[name].note:
                who.setdefault(ENTRIES[name].note, {})[ENTRIES[name].label] = None
    return [f"- {'; '.join(labels)}: {note}." for note, labels in who.items()]


def machine(facts: Mapping[str, Any]) -> str:
    """Return the machine in words."""
    at = facts["machine"]
    return f"{at['cpu']}, {at['cores']} cores, {at['system']}"


def lengths(facts: Mapping[str, Any]) -> str:
    """Return how long was measured, in words."""
    rounds, seconds = facts["rounds"], facts["seconds"]
    of = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    return f"{of} of {seconds} s each"


def _left_out(results: Results) -> list[str]:
    who: dict[str, list[str]] = {}
    for name, why in results.left_out.items():
        who.setdefault(why, []).append(title(name))
    return [f"Left out: {'; '.join(names)}. Why: {why}" for why, names in who.items()]
