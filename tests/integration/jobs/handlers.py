"""Python handlers of the tests."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from fluxbase.errors import Forbidden, HandlerFailed, Unavailable

if TYPE_CHECKING:
    from fluxbase.jobs import Job, SyncJob


async def echo(job: Job) -> Any:
    return {"payload": job.payload, "attempt": job.attempt}


async def steps(job: Job) -> Any:
    for percent in (10, 60, 90):
        await job.progress(percent, f"at {percent}")
        await job.log(f"line {percent}")
        await asyncio.sleep(job.payload.get("pause", 0.0))
    return "done"


def plain(job: SyncJob) -> Any:
    job.progress(50, "half")
    job.log("from a thread", "warning")
    time.sleep(0.01)
    return {"id": job.id}


async def note(job: Job) -> Any:
    """Write a note as the caller, then end as the payload says."""
    data = {"title": job.payload["title"]}
    written = await job.call("insert_record", {"table": "notes", "data": data})
    if job.attempt < job.payload.get("succeeds", 1):
        raise Unavailable("not this time", retry_after=0)
    return written


async def fails(job: Job) -> Any:
    kind = job.payload.get("kind")
    if kind == "forbidden":
        raise Forbidden("never")
    if kind == "own":
        raise HandlerFailed("the words of the handler")
    if kind == "json":
        return object()
    if kind == "large":
        return "x" * 2_000_000
    raise ValueError("a secret word")


async def slow(job: Job) -> Any:
    try:
        await asyncio.sleep(job.payload.get("seconds", 60))
    finally:
        await job.log("stopped")
    return "slept"


NO_FUNCTION = 17


async def effect(job: Job) -> Any:
    """Leave a trace, then take a moment, so that a worker is killed before, within and after."""
    await asyncio.sleep(0.005)
    data = {"job": job.id}
    await job.call("insert_record", {"table": "job_effects", "data": data, "returning": ""})
    await asyncio.sleep(0.02)
    return job.attempt


def stubborn(job: SyncJob) -> Any:
    """Go on in a thread although the job was stopped, and try to write."""
    time.sleep(0.6)
    job.call("insert_record", {"table": "notes", "data": {"title": "too late"}})
