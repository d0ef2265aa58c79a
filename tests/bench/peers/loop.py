"""Coroutines that ask Postgres through asyncpg, without any server: what the driver can do.

Run as `python -m tests.bench.peers.loop WORLD trips|pinned SECONDS`; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from tests.bench.peers.bare import in_one_trip, in_three_trips
from tests.bench.peers.connections import Connections
from tests.bench.work import TEN
from tests.bench.world import POOL, read_world


async def _measure(world: Path, mode: str, seconds: float) -> dict[str, float]:
    url, callers = read_world(world)
    caller = next(iter(callers.values()))
    connections = Connections()
    await connections.open(url, POOL, {} if mode == "trips" else {"role": caller.role})
    trip = in_three_trips if mode == "trips" else in_one_trip
    taken: list[float] = []

    async def ask(until: float, kept: list[float]) -> None:
        async with connections.use() as conn:
            while (began := time.perf_counter()) < until:
                await trip(conn, caller, TEN.sql_json, TEN.value)
                kept.append(time.perf_counter() - began)

    warm: list[float] = []
    for kept, length in ((warm, min(1.0, seconds)), (taken, seconds)):
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(ask(began + length, kept) for _ in range(POOL)))
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu  # pyright: ignore[reportPossiblyUnboundVariable]
    taken.sort()
    return {
        "requests": len(taken),
        "seconds": spent,
        "errors": 0,
        "p50_ms": taken[len(taken) // 2] * 1000,
        "p99_ms": taken[len(taken) * 99 // 100] * 1000,
        "cpu_us": cpu / len(taken) * 1e6,
    }


def main() -> None:
    """Measure and print."""
    world, mode, seconds = sys.argv[1:]
    result = uvloop.run(_measure(Path(world), mode, float(seconds)))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
