"""Moving windows in memory; it must not know who is counted or what follows.

The memory storage of the library `limits` starts a task and a thread for every hit to look for old
entries, which costs more than the rest of a request; this one forgets them as it goes.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple

_FEW: Final = 4096  # windows kept without looking for idle ones


class Hit(NamedTuple):
    """One call counted, or not: `wait` seconds until the oldest one leaves the window."""

    allowed: bool
    wait: float
    remaining: int


class Windows:
    """When each caller called in the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: dict[str, deque[float]] = {}
        self._sweep_at = _FEW

    def hit(self, key: str, most: int) -> Hit:
        """Count one call of `key` unless its window holds `most` already."""
        # Monotonic: a clock that is set must neither free a caller nor lock one out.
        now = time.monotonic()
        calls = self._calls.get(key)
        if calls is None:
            calls = self._open(key, now)
        start = now - self._seconds
        while calls and calls[0] <= start:
            calls.popleft()
        allowed = len(calls) < most
        if allowed:
            calls.append(now)
        return Hit(allowed, calls[0] - start, max(0, most - len(calls)))

    def _open(self, key: str, now: float) -> deque[float]:
        if len(self._calls) >= self._sweep_at:
            start = now - self._seconds
            self._calls = {k: calls for k, calls in self._calls.items() if calls[-1] > start}
            self._sweep_at = max(_FEW, 2 * len(self._calls))
        calls = self._calls[key] = deque()
        return calls
