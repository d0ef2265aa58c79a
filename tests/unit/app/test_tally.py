"""What several processes counted is one set of numbers."""

from __future__ import annotations

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fluxbase.app import tally
from fluxbase.observe import Observer


def counted(*calls: tuple[str, float], pool: float = 0) -> list[tally.Family]:
    registry = CollectorRegistry()
    counter = Counter("fluxbase_calls", "Calls", ("tool", "outcome"), registry=registry)
    taken = Histogram("fluxbase_call_seconds", "Time", ("tool",), registry=registry)
    for tool, seconds in calls:
        counter.labels(tool, "ok").inc()
        taken.labels(tool).observe(seconds)
    Gauge("fluxbase_pool_size", "Allowed", ("name",), registry=registry).labels("client").set(pool)
    return orjson.loads(orjson.dumps(tally.families(registry)))


def lines(*parts: list[tally.Family]) -> list[str]:
    return tally.as_text(tally.added(parts)).decode().splitlines()


def test_counters_histograms_and_gauges_are_added() -> None:
    text = lines(counted(("a", 0.003), ("b", 0.2), pool=4), counted(("a", 0.3), pool=4))
    assert 'fluxbase_calls_total{outcome="ok",tool="a"} 2.0' in text
    assert 'fluxbase_calls_total{outcome="ok",tool="b"} 1.0' in text
    assert 'fluxbase_call_seconds_bucket{le="0.005",tool="a"} 1.0' in text
    assert 'fluxbase_call_seconds_bucket{le="+Inf",tool="a"} 2.0' in text
    assert 'fluxbase_call_seconds_count{tool="a"} 2.0' in text
    assert 'fluxbase_pool_size{name="client"} 8.0' in text


def test_one_process_is_told_as_it_tells_itself() -> None:
    observer = Observer()
    observer.refused.labels("FLX301").inc()
    observer.watch(lambda: [("pool_size", "Connections allowed", "client", 4)])
    alone = tally.as_text(tally.families(observer.registry))
    assert alone == observer.text()
    assert tally.as_text(tally.added([tally.families(observer.registry)])) == alone


def test_of_a_process_that_is_gone_only_what_happened_counts() -> None:
    gone = tally.lasting(counted(("a", 0.1), pool=4))
    text = lines(gone, counted(("a", 0.1), pool=4))
    assert 'fluxbase_calls_total{outcome="ok",tool="a"} 2.0' in text
    assert 'fluxbase_pool_size{name="client"} 4.0' in text


def test_the_time_a_counter_was_made_is_not_added() -> None:
    parts = [counted(("a", 0.1)), counted(("a", 0.1))]
    made = [
        sample[2]
        for family in tally.added(parts)
        for sample in family[3]
        if sample[0] == "fluxbase_calls_created"
    ]
    assert made == [
        min(s[2] for f in part for s in f[3] if s[0] == "fluxbase_calls_created")
        for part in parts[:1]
    ]
