"""What came of the data rooms, as ratios in words and as a section of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.bench.report import groups, lengths, machine, markdown, notes
from tests.bench.results import from_json
from tests.bench.roster import ENTRIES, GROUPS, OURS
from tests.bench.transfers import THREADS, TRANSFERS
from tests.bench.vectors import ASKED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.results import Results

_HOW: Final = f"""\
Free SQL and vectors are asked by `wrk` and pgbench over 16 connections, as above; both ask the
same {ASKED} questions of the vectors. Objects are carried by {THREADS} threads of a Python process,
the same one for all: over kept connections to our plain HTTP, with `boto3` to the same S3 server
(`rclone serve s3`), or as files that are brought to the disk as our store does it. Every
downloaded byte is compared. Objects in S3 pass two servers of the machine, ours and rclone's,
where `boto3` passes one."""


def ratios(part: Mapping[str, Any]) -> list[str]:
    """Return a line for each neighbour of ours, with the ratio of the rates."""
    results = from_json(part)
    lines: list[str] = []
    for group, names in groups(results).items():
        ours = OURS[group]
        lines += [
            f"{GROUPS[group]}: {_speed(results, ours)}, {_times(results.ratio(ours, name))} "
            f"{ENTRIES[name].label} ({_speed(results, name)})"
            for name in names
            if name != ours and ours in results.samples
        ]
    return lines + _recall(part)


def section(part: Mapping[str, Any]) -> str:
    """Return the section of the page, in Markdown."""
    results, facts = from_json(part), part["facts"]
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    return "\n\n".join(
        [
            "## Data rooms",
            f"Measured on {facts['measured']} on {machine(facts)}: {lengths(facts)}. Rounds of one "
            f"contestant differed by up to {_spread(results):.0%} of its median.",
            "\n".join(f"- {line}" for line in ratios(part)),
            markdown(results),
            _HOW,
            "\n".join(notes(results)),
            f"Versions: {versions}.",
        ]
    )


def _times(ratio: float) -> str:
    return f"{ratio:.{2 if ratio >= 0.1 else 3}f} x"


def _speed(results: Results, name: str) -> str:
    rate = results.middle(name).rate
    transfer = TRANSFERS.get(ENTRIES[name].group)
    if transfer is None:
        return f"{rate:,.0f} calls/s"
    return f"{rate:,.0f}/s, {transfer.mb(rate):,.0f} MB/s"


def _recall(part: Mapping[str, Any]) -> list[str]:
    told = part.get("vectors")
    if told is None:
        return []
    return [
        f"recall@10 of search_vectors: {told['recall']:.3f} over {told['questions']} questions to "
        f"{told['rows']:,} vectors of {told['size']} numbers, of which the caller sees one in "
        f"{told['owners']}; against an exact scan under the same policy"
    ]


def _spread(results: Results) -> float:
    """Return by how much the rounds of one contestant differed at most, as a share."""
    rates = {name: results.rates(name) for name in results.samples}
    return max(((max(r) - min(r)) / results.middle(n).rate for n, r in rates.items()), default=0.0)
