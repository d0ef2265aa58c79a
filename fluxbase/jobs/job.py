"""A job as its Python handler sees it; it must not know how it came to run.

A handler is a function of one argument that returns JSON: `async def resize(job: Job)`, or a plain
`def resize(job: SyncJob)`, which runs in a thread. It may be run again from its start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from fluxbase.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from fluxbase.toolkit import Context
    from fluxbase.toolkit.handlers import Task

T = TypeVar("T")


class Job:
    """One attempt at a job."""

    def __init__(self, ctx: Context, payload: Any, task: Task) -> None:
        self._ctx = ctx
        self._task = task
        self.payload = payload
        self.over = False  # nobody wants anything of it any more

    @property
    def id(self) -> str:
        """The job's id, the same in every attempt."""
        return self._task.id

    @property
    def attempt(self) -> int:
        """Which attempt this is; the first is 1."""
        return self._task.attempt

    async def progress(self, percent: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is, from 0 to 100, and what it does."""
        await self._task.report(percent, message)

    async def log(self, line: str, level: str = "info") -> None:
        """Keep a line that whoever submitted the job may read."""
        await self._task.log(level, line)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool with the rights of who submitted the job, and return its result.

        What a tool writes under an `idempotency_key` is written once, however often the job runs.

        Raises:
            FluxbaseError: the caller has no such tool, the arguments are wrong, or it failed.
        """
        answer = await self._ctx.call(tool, dict(arguments or {}))
        return orjson.loads(answer.structured) if answer.structured else list(answer.blocks)


class SyncJob:
    """The same for a handler that runs in a thread, where nothing is awaited."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._job = job
        self._loop = loop
        self.payload = job.payload
        self.id = job.id
        self.attempt = job.attempt

    def progress(self, percent: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is, from 0 to 100, and what it does."""
        self._wait(self._job.progress(percent, message))

    def log(self, line: str, level: str = "info") -> None:
        """Keep a line that whoever submitted the job may read."""
        self._wait(self._job.log(line, level))

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool with the rights of who submitted the job; see `Job.call`."""
        return self._wait(self._job.call(tool, arguments))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        # A thread cannot be stopped, but what it wants to do can be refused.
        if self._job.over:
            work.close()
            raise Cancelled("the job was stopped")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
