"""One measurement; it stands alone so that judging needs nothing of what measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one contestant; `cpu_us` and `db_us` are processor time for each call."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    db_us: float
    rss_mib: float
