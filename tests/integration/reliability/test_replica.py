"""Reads go to a replica, which never hides what a caller wrote, nor shows what it may not see."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.reliability.outside import replica
from tests.integration.reliability.stand import Stand, eventually, login, stand
from tests.integration.reliability.test_outside import LEDGER_AGAIN, both_tenants

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from subprocess import Popen

    from fluxbase.db.types import Connection
    from tests.integration.reliability.conftest import Outer


class Pair:
    """A server with a primary and a replica, and the replica's superuser."""

    def __init__(self, at: Stand, conn: Connection, child: Popen[bytes]) -> None:
        self.at, self.conn, self.child = at, conn, child

    async def reads(self) -> int:
        """How many reads of the ledger the replica has answered since it was asked last."""
        pool = self.at.backend.database._replicas.pools[0]  # pyright: ignore[reportPrivateUsage]
        return sum(self._seen(pool))

    def _seen(self, pool: Any) -> list[int]:
        return [1 for held in (*pool._idle, *pool._used) if held.identity is not None]

    async def follows(self) -> bool:
        """Whether the server would read from the replica for somebody who wrote nothing."""
        return any(r.heard for r in self.at.backend.database._replicas._replicas)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
async def pair(outer: Outer, rough_home: Path) -> AsyncGenerator[Pair]:
    async with opened(outer, rough_home) as made:
        yield made


@asynccontextmanager
async def opened(outer: Outer, home: Path) -> AsyncGenerator[Pair]:
    async with replica(home, outer.bin_dir, f"{outer.superuser}/postgres") as (address, child):
        # The address names no login: nobody knows the derived password.
        database = outer.config(home, replica_urls=[f"postgresql://{address}/app"])
        login_ = outer.superuser.partition("//")[2].partition("@")[0]
        conn = await login(f"postgresql://{login_}@{address}/app")
        async with stand(home, LEDGER_AGAIN, database=database) as at:
            made = Pair(at, conn, child)
            await eventually(made.follows, "the replica is followed")
            yield made
        conn.terminate()


@pytest.mark.slow
async def test_reads_use_a_replica_yet_everybody_reads_what_they_wrote(pair: Pair) -> None:
    await both_tenants(pair.at, 3)
    async with pair.at.caller() as one, pair.at.caller("user2") as two:

        async def used() -> bool:
            await two.rows("ledger")
            return await pair.reads() > 0

        await eventually(used, "the replica answers reads")
        await pair.conn.execute("SELECT pg_wal_replay_pause()")
        try:
            for n in range(10):
                await one.call("insert_record", table="ledger", data={"n": 50_000 + n})
                assert len(await one.rows("ledger", filter={"n": 50_000 + n})) == 1
        finally:
            await pair.conn.execute("SELECT pg_wal_replay_resume()")


@pytest.mark.slow
async def test_a_replica_that_lags_behind_the_schema_is_not_asked(pair: Pair) -> None:
    async with pair.at.owner() as owner, pair.at.caller() as one:
        await owner.execute(
            "CREATE TABLE public.late (n int); INSERT INTO public.late VALUES (1); "
            "GRANT SELECT ON public.late TO authenticated"
        )
        position = await owner.fetchval("SELECT pg_current_wal_insert_lsn()")
        try:

            async def replayed() -> bool:
                return await pair.conn.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", position)

            await eventually(replayed, "the replica has the table")
            await pair.conn.execute("SELECT pg_wal_replay_pause()")
            await owner.execute("ALTER TABLE public.late ENABLE ROW LEVEL SECURITY")

            async def shown() -> bool:
                tables = await one.call("list_tables")
                return "late" in str(tables)

            await eventually(shown, "the table is shown, now that it is protected", 5)
            # Without a policy nobody sees a row; on the replica there is no protection yet.
            for _ in range(10):
                assert await one.rows("late") == []
        finally:
            await pair.conn.execute("SELECT pg_wal_replay_resume()")
            await owner.execute("DROP TABLE public.late")


@pytest.mark.slow
async def test_a_replica_that_hangs_or_dies_costs_nobody_an_answer(pair: Pair) -> None:
    stop, answers = asyncio.Event(), list[float]()
    loop = asyncio.get_running_loop()

    async def read() -> None:
        async with pair.at.caller("user2") as two:
            while not stop.is_set():
                began = loop.time()
                await two.rows("ledger")
                answers.append(loop.time() - began)

    readers = [asyncio.create_task(read()) for _ in range(3)]

    async def away() -> bool:
        return not await pair.follows()

    try:
        os.kill(pair.child.pid, signal.SIGSTOP)
        for child in _children(pair.child.pid):
            os.kill(child, signal.SIGSTOP)
        await eventually(away, "the hanging replica is left alone", 8)
        for child in (*_children(pair.child.pid), pair.child.pid):
            os.kill(child, signal.SIGCONT)
        await eventually(pair.follows, "the replica is followed again", 8)
        pair.child.kill()
        await eventually(away, "the dead replica is left alone", 8)
        many = len(answers)

        async def going_on() -> bool:
            return len(answers) > many + 20

        await eventually(going_on, "reads go on")
    finally:
        stop.set()
        await asyncio.gather(*readers)  # none was refused
    assert max(answers) < 6


def _children(parent: int) -> list[int]:
    from tests.integration.reliability.stand import children

    return children(parent)
