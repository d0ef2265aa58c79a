"""What happened: counters for machines and log lines for people; it must not decide anything.

Nothing secret is given to this module; a net under it still blanks what looks like a key.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

_KEYS: Final = re.compile(r"(fb[ks]_[a-z0-9]{8}_)[0-9A-Za-z]+(_[0-9A-Za-z]+)?")
_TOKENS: Final = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+")
_LOGINS: Final = re.compile(r"(\w+://[^\s:/@]*:)[^\s@]+@")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


_LEVELS: Final = {"ok": logging.DEBUG, "failed": logging.INFO}


class Call(NamedTuple):
    """One finished request."""

    request_id: str
    method: str
    tool: str
    principal: str
    outcome: str
    code: str
    seconds: float
    remote: str | None = None


@dataclass(slots=True)
class Observer:
    """The counters of one server."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    calls: _Calls = field(init=False)
    refused: Counter = field(init=False)
    fallback: Counter = field(init=False)
    audit_lost: Counter = field(init=False)
    reloads: Counter = field(init=False)
    jobs: Counter = field(init=False)
    job_seconds: Counter = field(init=False)
    _log: logging.Logger = field(init=False)

    def __post_init__(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fluxbase_{name}", text, labels, registry=self.registry)

        self.calls = _Calls()
        self.registry.register(self.calls)
        self.refused = counter("refused", "Requests refused before a tool ran", "code")
        self.fallback = counter("limits_fallback", "Times the shared rate limits were unreachable")
        self.audit_lost = counter("audit_lost", "Read records dropped because the buffer was full")
        self.reloads = counter("config_reloads", "Configuration reloads", "outcome")
        self.jobs = counter("jobs", "Attempts at jobs that ended", "queue", "outcome")
        self.job_seconds = counter("job_seconds", "Time that attempts at jobs took", "queue")
        self._log = logging.getLogger("fluxbase.calls")

    def count(self, name: str, outcome: str, seconds: float) -> None:
        """Count one finished request by its tool, or else its method."""
        self.calls.count(name, outcome, seconds)

    def tells(self, outcome: str) -> bool:
        """Return whether such a request gets a line, before anybody makes one."""
        return self._log.isEnabledFor(_LEVELS[outcome])

    def tell(self, call: Call) -> None:
        """Log one finished request."""
        name = call.tool or call.method
        fields = {"fields": _fields(call)}
        self._log.log(_LEVELS[call.outcome], "%s %s", name, call.outcome, extra=fields)

    def watch(self, gauges: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        """Add gauges that are asked for when metrics are read: (name, text, label, value)."""
        self.registry.register(_Gauges(gauges))

    def text(self) -> bytes:
        """Return every metric in Prometheus' text format."""
        return generate_latest(self.registry)


@dataclass(slots=True)
class _Tally:
    """The calls of one tool or method, and how many of them took how long."""

    outcomes: dict[str, int] = field(default_factory=dict[str, int])
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    seconds: float = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """Return for each bound how many calls took no longer."""
        bounds = [*(str(float(bound)) for bound in _BUCKETS), "+Inf"]
        return list(zip(bounds, accumulate(self.buckets), strict=True))


class _Calls:
    """Calls by outcome and by time; the library's own counters take a lock for every number.

    They are counted in the loop's thread only, and read there.
    """

    def __init__(self) -> None:
        self._since = time.time()
        self._tallies: dict[str, _Tally] = {}

    def count(self, name: str, outcome: str, seconds: float) -> None:
        tally = self._tallies.get(name)
        if tally is None:
            tally = self._tallies[name] = _Tally()
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + 1
        tally.buckets[bisect_left(_BUCKETS, seconds)] += 1
        tally.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the two families as the library writes them."""
        calls = CounterMetricFamily(
            "fluxbase_calls", "Requests by tool or method", labels=["tool", "outcome"]
        )
        seconds = HistogramMetricFamily(
            "fluxbase_call_seconds", "Time of requests", labels=["tool"]
        )
        for name, tally in self._tallies.items():
            for outcome, number in tally.outcomes.items():
                calls.add_metric([name, outcome], number, created=self._since)
            seconds.add_metric([name], tally.cumulative(), tally.seconds)
        return calls, seconds


class _Gauges:
    def __init__(self, ask: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        self._ask = ask

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return one family for each name."""
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, label, value in self._ask():
            family = families.setdefault(
                name, GaugeMetricFamily(f"fluxbase_{name}", text, labels=["name"])
            )
            family.add_metric([label], value)
        return families.values()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing: the names are not known before the first reading."""
        return ()


def _fields(call: Call) -> dict[str, Any]:
    return {
        "request_id": call.request_id,
        "method": call.method,
        "principal": call.principal,
        "code": call.code,
        "ms": round(call.seconds * 1000, 2),
        "remote": call.remote,
    }


def redact(text: str) -> str:
    """Return `text` with everything blanked that looks like a key, a token or a password."""
    text = _KEYS.sub(r"\1***", text)
    text = _TOKENS.sub("***", text)
    return _LOGINS.sub(r"\1***@", text)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one line for people."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        tail = "".join(f" {k}={v}" for k, v in fields.items() if v not in (None, ""))
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        line = f"{when} {record.levelname.lower():7} {record.getMessage()}{tail}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object on a line."""
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return redact(orjson.dumps(fields, default=str).decode())


def set_up_logging(level: str, style: str) -> None:
    """Send the program's log lines to standard error; `style` is `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fluxbase").setLevel(level.upper())
