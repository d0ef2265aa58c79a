"""Adds up the metrics of a server's workers; it must not know what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Metric, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.registry import Collector

# A family as JSON: name, text, type, and samples of name, labels and value.
Family = list[Any]
_ADDED: Final = ("counter", "histogram")


def families(registry: Collector) -> list[Family]:
    """Return all that a registry counts, as JSON can hold it."""
    return [
        [
            metric.name,
            metric.documentation,
            metric.type,
            [[sample.name, sample.labels, sample.value] for sample in metric.samples],
        ]
        for metric in registry.collect()
    ]


def lasting(found: Iterable[Family]) -> list[Family]:
    """Return what still counts when the process is gone: what happened, not what was."""
    return [family for family in found if family[2] in _ADDED]


def added(parts: Iterable[Iterable[Family]]) -> list[Family]:
    """Return one list of families whose samples are the sums of those in the parts."""
    heads: dict[str, tuple[str, str]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for part in parts:
        for name, text, kind, samples in part:
            heads.setdefault(name, (text, kind))
            family = sums.setdefault(name, {})
            for sample, labels, value in samples:
                key = sample, tuple(sorted(labels.items()))
                before = family.get(key)
                if before is None:
                    family[key] = value
                elif sample.endswith("_created"):
                    family[key] = min(before, value)
                else:
                    family[key] = before + value
    return [
        [
            name,
            *heads[name],
            [[sample, dict(labels), value] for (sample, labels), value in family.items()],
        ]
        for name, family in sums.items()
    ]


def as_text(found: Iterable[Family]) -> bytes:
    """Return families in Prometheus' text format."""
    return generate_latest(_Given(found))


class _Given:
    def __init__(self, found: Iterable[Family]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """Return the families as the library writes them."""
        for name, text, kind, samples in self._found:
            metric = Metric(name, text, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
