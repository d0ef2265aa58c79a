"""How many jobs that do nothing one worker process does in a second, beside pgqueuer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import yaml

from fluxbase.app.desk import ADMINISTRATOR
from fluxbase.jobs.identity import kept
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.world import World

_MANY: Final = 5000
_AT_ONCE: Final = 100
_ROUNDS: Final = 3
_PATIENCE: Final = 120.0
_SCHEMA: Final = "pgqueuer_bench"
_PEERS: Final = ROOT / ".venv-bench" / "bin"
_SUBMIT: Final = """
WITH d AS (
  INSERT INTO jobs.definitions (name, handler, public, queue, timeout_seconds, max_attempts)
  VALUES ('noop', 'python:noop', true, 'bench', 30, 5)
  ON CONFLICT (namespace, name) DO UPDATE SET updated_at = now() RETURNING id
)
INSERT INTO jobs.jobs (definition, namespace, name, holder, principal, queue, priority, payload,
  max_attempts, ready)
SELECT d.id, 'default', 'noop', 'cli', $1::text::json, 'bench', 0, '{}', 5, true
FROM d, generate_series(1, $2)
"""
_LEFT: Final = "SELECT count(*) FROM jobs.jobs WHERE status <> 'completed'"
_RATE: Final = """
SELECT count(*) / extract(epoch FROM max(completed_at) - min(started_at))::float8 FROM jobs.jobs
"""


async def measured(world: World) -> dict[str, Any]:
    """Return the rates of all rounds, in which the two take turns."""
    owner = world.backend.database.logins.admin
    theirs = (_PEERS / "pgq").exists()
    if theirs:
        await _pgqueuer(owner, "pgq", "install")
    found: dict[str, list[float]] = {"ours": [], "pgqueuer": []}
    for _ in range(_ROUNDS):
        found["ours"].append(await _ours(world, owner))
        if theirs:
            script = str(Path(__file__).parent / "peers" / "pgqueuer_worker.py")
            words = (script, owner, str(_MANY), str(_AT_ONCE))
            found["pgqueuer"].append(float(await _pgqueuer(owner, "python", *words)))
    return {"many": _MANY, "at_once": _AT_ONCE, **found}


def ratios(found: Mapping[str, Any]) -> list[str]:
    """Return what came of it in words."""
    ours, theirs = found["ours"], found["pgqueuer"]
    line = (
        f"jobs that do nothing, {found['at_once']} at a time in one worker process: "
        f"{median(ours):,.0f} jobs/s, each with its caller looked up, a result and a record"
    )
    if not theirs:
        return [f"{line}; pgqueuer is not installed"]
    times = median(one / other for one, other in zip(ours, theirs, strict=True))
    return [f"{line}; {times:.2f} x pgqueuer without any of it ({median(theirs):,.0f} jobs/s)"]


async def _ours(world: World, owner: str) -> float:
    conn = await asyncpg.connect(owner)
    try:
        await conn.execute("TRUNCATE jobs.jobs CASCADE")
        await conn.execute(_SUBMIT, kept(ADMINISTRATOR), _MANY)
        await conn.execute("VACUUM ANALYZE jobs.jobs")
        process = _worker(world, owner)
        try:
            end = time.monotonic() + _PATIENCE
            while await conn.fetchval(_LEFT):
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError("the jobs were not done")
                await asyncio.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
        return await conn.fetchval(_RATE)
    finally:
        await conn.close()


def _worker(world: World, owner: str) -> subprocess.Popen[bytes]:
    config = {
        "database": {"url": owner},
        "auth": {"peppers_file": str(world.config.auth.peppers_file)},
        "jobs": {"queues": {"bench": _AT_ONCE}, "handlers": {"noop": "tests.bench.noop:noop"}},
    }
    file = world.home / "worker.yaml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    command = [sys.executable, "-m", "fluxbase", "worker", "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


async def _pgqueuer(owner: str, program: str, *words: str) -> str:
    environment = {**os.environ, "PGQUEUER_SCHEMA": _SCHEMA, "PGDSN": owner}
    done = await asyncio.to_thread(
        subprocess.run,
        [str(_PEERS / program), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
