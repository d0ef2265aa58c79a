"""Works off jobs that do nothing with pgqueuer, in `.venv-bench`; prints jobs a second.

Run as `python pgqueuer_worker.py DSN MANY AT_ONCE`, with PGQUEUER_SCHEMA set and installed.
"""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode


async def _worked_off(url: str, many: int, at_once: int) -> float:
    conn = await asyncpg.connect(url)
    worker = PgQueuer.from_asyncpg_connection(conn)
    began: list[float] = []
    done = 0

    @worker.entrypoint("noop")
    async def noop(_job: object) -> None:
        nonlocal done
        if not began:
            began.append(time.perf_counter())
        done += 1
        await asyncio.sleep(0)

    await worker.queries.enqueue(["noop"] * many, [None] * many, [0] * many)
    await worker.run(batch_size=at_once, mode=QueueExecutionMode.drain)
    spent = time.perf_counter() - began[0]
    if done != many:
        raise SystemExit(f"{done} jobs of {many} were done")
    return many / spent


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(_worked_off(sys.argv[1], *map(int, sys.argv[2:])))}\n")
