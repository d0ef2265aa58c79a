"""Takes jobs from the queues and has them run; it must not know what they do.

A job is lent for some seconds and renewed while it runs. Whoever loses it stops, and cannot write
how it ended any more: by then somebody else may have it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

from fluxbase.errors import FluxbaseError
from fluxbase.jobs import schedules
from fluxbase.jobs.attempt import Claimed, attempt
from fluxbase.jobs.endings import Ending, Endings
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.jobs.attempt import Means
    from fluxbase.jobs.endings import Written

log = logging.getLogger(__name__)

_BATCH: Final = 100
_PAUSE: Final = 1.0
_PRUNE_EVERY: Final = 600.0
_PRUNED: Final = 5000  # the batch of the query `prune_jobs`
_GRACE: Final = 5.0

Why = Literal["cancelled", "lost", "back"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a worker works."""

    queues: Mapping[str, int]
    lease: float
    poll: float
    max_running_per_key: int | None
    retention: float


@dataclass(slots=True, eq=False)
class _Held:
    """A job that runs here."""

    job: Claimed
    task: asyncio.Task[None] | None = None
    begun: bool = False
    why: Why | None = None  # it was told to stop


@dataclass(slots=True)
class _Lane:
    """A queue, how many of its jobs run here, and what says that there may be more."""

    slots: int
    running: int = 0
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def free(self) -> int:
        """How many more may run."""
        return self.slots - self.running

    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Worker:
    """One process' share of the work."""

    def __init__(self, means: Means, terms: Terms, on_written: Callable[[Written], None]) -> None:
        self.id = str(uuid4())
        self.means = means  # of the attempts that begin from now on
        self._terms = terms
        self._database = means.database
        self._endings = Endings(means.database, on_written)
        self._lanes = {name: _Lane(slots) for name, slots in terms.queues.items()}
        self._held: dict[str, _Held] = {}
        self._upkeep = asyncio.Event()
        self._stopping = False

    def hear(self, payload: str) -> None:
        """Take in what is announced: a queue that has jobs, `!cancel id`, `!schedules`."""
        if payload.startswith("!cancel "):
            held = self._held.get(payload.removeprefix("!cancel "))
            if held is not None:
                self._stop(held, "cancelled")
            return
        if payload in ("", "!schedules"):
            self._upkeep.set()
        for name, lane in self._lanes.items():
            if payload in ("", name):
                lane.bell.set()

    async def run(self) -> None:
        """Work until cancelled; jobs that still run then are handed back."""
        works = [self._work_off(name, lane) for name, lane in self._lanes.items()]
        tasks = [
            asyncio.ensure_future(work)
            for work in (*works, self._renew(), self._endings.run(), self._look_after())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task  # a fault that nobody expected starts all of it again
        finally:
            await self.stop(0.0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> None:
        """Take no more jobs."""
        self._stopping = True
        for lane in self._lanes.values():
            lane.bell.set()

    async def stop(self, seconds: float) -> None:
        """Take no more jobs, let those that run finish, and hand back what does not in time."""
        self.drain()
        for lane in self._lanes.values():
            async with lane.taking:  # what is being lent at this moment is handed back too
                pass
        if seconds > 0:
            await self._ended(seconds)
        for held in list(self._held.values()):
            self._stop(held, "back")
        await self._ended(_GRACE)
        await self._endings.settle(_GRACE)

    async def _ended(self, seconds: float) -> None:
        tasks = [held.task for held in self._held.values() if held.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _work_off(self, queue: str, lane: _Lane) -> None:
        while True:
            lane.bell.clear()  # before the look: what comes meanwhile is seen by the next one
            free = min(lane.slots - lane.running, _BATCH)
            if self._stopping or free <= 0:
                await lane.bell.wait()
                continue
            try:
                async with lane.taking:
                    took = 0 if self._stopping else await self._claim(queue, lane, free)
                if took:
                    continue
                seconds = await self._until_due(queue)
            except FluxbaseError as error:
                log.warning("jobs wait: %s", error.message)
                seconds = _PAUSE
            await pause(lane.bell, seconds)

    async def _claim(self, queue: str, lane: _Lane, free: int) -> int:
        rows = await self._database.admin(
            "claim_jobs",
            queue=queue,
            most=free,
            worker=self.id,
            seconds=self._terms.lease,
            per_key=self._terms.max_running_per_key,
            at=None,
        )
        for row in rows:
            held = _Held(Claimed.of(row))
            lane.running += 1
            self._held[held.job.id] = held
            held.task = asyncio.create_task(self._do(held, lane))
        return len(rows)

    async def _until_due(self, queue: str) -> float:
        [row] = await self._database.admin("next_due", queue=queue, at=None)
        seconds = self._terms.poll if row["seconds"] is None else row["seconds"] + 0.005
        return min(max(seconds, 0.005), self._terms.poll)

    async def _do(self, held: _Held, lane: _Lane) -> None:
        job, began = held.job, time.monotonic()
        try:
            ending = await self._attempt(held)
        finally:
            if self._held.get(job.id) is held:
                del self._held[job.id]
            # The next job may begin while it is written how this one ended.
            lane.running -= 1
            lane.bell.set()
        if ending is not None:
            self._endings.add(ending, job.queue, time.monotonic() - began)

    async def _attempt(self, held: _Held) -> Ending | None:
        """Return how an attempt ended; `None` when the job is somebody else's business by now."""
        job, held.begun = held.job, True
        try:
            if held.why is None:
                return await attempt(self.means, job)
        except asyncio.CancelledError:
            if held.why is None:
                raise
        return Ending(job.id, job.fence, "back") if held.why == "back" else None

    def _stop(self, held: _Held, why: Why) -> None:
        if held.why is not None:
            return
        held.why = why
        # A task that is cancelled before its first step never takes one, not even to its end.
        if held.begun and held.task is not None:
            held.task.cancel()

    async def _renew(self) -> None:
        """Keep what runs here, and let go of what is not ours any more."""
        sure = time.monotonic()  # when all of it was ours for the length of a lease
        while True:
            await asyncio.sleep(self._terms.lease / 3)
            asked = time.monotonic()
            held = [h for h in self._held.values() if h.why is None]
            try:
                kept = await self._renewed(held)
            except FluxbaseError as error:
                log.warning("jobs cannot be kept: %s", error.message)
                if asked - sure > self._terms.lease:
                    for lost in held:
                        self._stop(lost, "lost")
                continue
            sure = asked
            for lost in held:
                if lost.job.id not in kept:
                    self._stop(lost, "lost")

    async def _renewed(self, held: list[_Held]) -> set[str]:
        if not held:
            return set()
        rows = await self._database.admin(
            "renew_jobs",
            ids=[h.job.id for h in held],
            fences=[h.job.fence for h in held],
            seconds=self._terms.lease,
            at=None,
        )
        return {row["id"] for row in rows}

    async def _look_after(self) -> None:
        """Take back what lost workers had, submit what is scheduled, delete what is old."""
        pruned = time.monotonic()
        while True:
            self._upkeep.clear()
            seconds = self._terms.poll
            try:
                await self._database.admin("lapse_jobs", at=None)
                await schedules.fire(self._database)
                [row] = await self._database.admin("next_schedule", at=None)
                if row["seconds"] is not None:
                    seconds = min(max(row["seconds"] + 0.005, 0.005), seconds)
                if time.monotonic() - pruned > _PRUNE_EVERY:
                    pruned = time.monotonic()
                    await self._prune()
            except FluxbaseError as error:
                log.warning("jobs are not looked after: %s", error.message)
            await pause(self._upkeep, seconds)

    async def _prune(self) -> None:
        more = _PRUNED
        while more >= _PRUNED:
            more = len(await self._database.admin("prune_jobs", seconds=self._terms.retention))
