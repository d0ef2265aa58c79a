"""Postgres dies under load: what was acknowledged stays, and nobody is told a lie."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.reliability.stand import Stand, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import Caller

WRITERS = 6


@dataclass
class History:
    """What every write was answered, by its unique number."""

    acked: set[int] = field(default_factory=set[int])
    refused: set[int] = field(default_factory=set[int])
    unknown: set[int] = field(default_factory=set[int])
    odd: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def note(self, number: int, response: Any) -> bool:
        """Sort one answer; return whether it was an acknowledgement."""
        body = response.json()
        if response.status_code == 200 and body.get("result", {}).get("isError") is False:
            self.acked.add(number)
            return True
        polite = response.status_code == 503 and int(response.headers["retry-after"]) >= 1
        if not polite or body["error"]["data"]["code"] != "FLX504":
            self.odd.append((response.status_code, response.text))
        elif "unknown" in body["error"]["message"]:
            self.unknown.add(number)
        else:
            self.refused.add(number)
        return False


async def insert(caller: Caller, number: int) -> Any:
    arguments = {"table": "ledger", "data": {"n": number}, "returning": ""}
    params = {"name": "insert_record", "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return await caller.post(body)


async def write(
    stand: Stand, numbers: Iterator[int], history: History, stop: asyncio.Event
) -> None:
    async with stand.caller() as caller:
        while not stop.is_set():
            number = next(numbers)
            if not history.note(number, await insert(caller, number)):
                await asyncio.sleep(0.02)


async def stored(stand: Stand) -> Counter[int]:
    async with stand.owner() as conn:
        return Counter(row["n"] for row in await conn.fetch("SELECT n FROM public.ledger"))


def judge(history: History, found: Counter[int]) -> None:
    assert not history.odd, history.odd[:3]
    assert not history.acked - found.keys(), "acknowledged writes are missing"
    assert not history.refused & found.keys(), "refused writes were stored"
    assert set(found.values()) <= {1}, "a write was stored twice"
    assert found.keys() <= history.acked | history.unknown


class Watch:
    """Asks for liveness and readiness all along."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.live: set[int] = set()
        self.ready: list[int] = []

    async def run(self) -> None:
        async with self._stand.caller() as caller:
            while True:
                self.live.add((await caller.http.get("/livez")).status_code)
                self.ready.append((await caller.http.get("/readyz")).status_code)
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_killed_postgres_loses_no_acknowledged_write_and_comes_back_by_itself(
    calm: Stand,
) -> None:
    chance = random.Random(20)  # noqa: S311 - moments, not secrets
    numbers, history, stop, watch = itertools.count(1), History(), asyncio.Event(), Watch(calm)
    writers = [asyncio.create_task(write(calm, numbers, history, stop)) for _ in range(WRITERS)]
    watching = asyncio.create_task(watch.run())
    try:
        for _ in range(4):
            before = len(history.acked)

            async def flowing(before: int = before) -> bool:
                return len(history.acked) > before + 30

            await eventually(flowing, "writes flow")
            await asyncio.sleep(chance.uniform(0, 0.3))  # the moment of the kill is the point
            killed = calm.postmaster()
            os.kill(killed, signal.SIGKILL)
            watch.ready.clear()

            async def up(killed: int = killed) -> bool:
                try:
                    return calm.postmaster() != killed and await answers(calm)
                except (AssertionError, OSError):
                    return False

            async def ready() -> bool:
                return watch.ready[-1:] == [200]

            await eventually(up, "Postgres is up again", 20)
            watch.ready.clear()
            assert await eventually(ready, "ready again") < 5
    finally:
        stop.set()
        await asyncio.gather(*writers)
        watching.cancel()
    assert watch.live == {200}
    judge(history, await stored(calm))
    assert history.refused


async def answers(stand: Stand) -> bool:
    try:
        async with stand.owner() as conn:
            return bool(await conn.fetchval("SELECT true"))
    except Exception:  # noqa: BLE001 - whatever it is, it is not up
        return False


@pytest.mark.slow
async def test_backends_that_die_cost_no_read_and_double_no_write(calm: Stand) -> None:
    numbers, history, stop = itertools.count(1), History(), asyncio.Event()
    reads: Counter[int] = Counter()

    async def read() -> None:
        async with calm.caller() as caller:
            while not stop.is_set():
                body = {"name": "query_table", "arguments": {"table": "ledger", "limit": 3}}
                answer = await caller.post(
                    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body}
                )
                reads[answer.status_code] += 1

    workers = [asyncio.create_task(write(calm, numbers, history, stop)) for _ in range(3)]
    workers += [asyncio.create_task(read()) for _ in range(3)]
    try:
        async with calm.superuser() as conn:
            for _ in range(40):
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                    "current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
                )
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await asyncio.gather(*workers)
    judge(history, await stored(calm))
    assert len(history.acked) > 100
    # A read is sent again once; only one that meets a second kill may be refused.
    assert set(reads) <= {200, 503}
    assert reads[503] <= reads[200] / 100
