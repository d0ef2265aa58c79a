"""Runs one attempt at a job as who submitted it; it must not know queues nor leases."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.errors import (
    DeadlineExceeded,
    FluxbaseError,
    HandlerFailed,
    InternalError,
    TooLarge,
    Unauthenticated,
    UnknownJob,
)
from fluxbase.jobs.endings import Ending
from fluxbase.jobs.identity import restored
from fluxbase.strict_json import loads
from fluxbase.toolkit.client import LEVELS
from fluxbase.toolkit.deadline import Deadline
from fluxbase.toolkit.effects import Effects
from fluxbase.toolkit.handlers import Handlers, Task
from fluxbase.toolkit.pause import pause
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.principal import Principal
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.json_text import JsonValue
    from fluxbase.toolkit.runner import Runner

log = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 3600.0
_TOLD_EVERY: Final = 0.2
_MOST_LINES: Final = 1000
_LONGEST_LINE: Final = 4000
_LONGEST_MESSAGE: Final = 500
# Input, catalog, identity and what is missing: the same attempt again would end the same.
_FINAL: Final = ("FLX1", "FLX2", "FLX3", "FLX4")


class Means(NamedTuple):
    """What attempts are made with.

    `vouch` returns who somebody is now, or raises `Unauthenticated`.
    """

    database: Database
    runner: Runner
    handlers: Handlers
    vouch: Callable[[Principal], Awaitable[Principal]]
    backoff: float
    max_result: int


class Claimed(NamedTuple):
    """A job as a worker was lent it."""

    id: str
    namespace: str
    name: str
    queue: str
    principal: str
    payload: str
    attempt: int
    fence: int
    handler: str | None
    timeout: float

    @classmethod
    def of(cls, row: Record) -> Claimed:
        """Return the job of a row of `claim_jobs`, whose first columns are these."""
        return cls._make(row[:10])


async def attempt(means: Means, job: Claimed) -> Ending:
    """Run a job once and return how that ended; only a cancellation is raised."""
    teller = Teller(means.database, job)
    try:
        result = str(await _run(means, job, teller))
        if len(result) > means.max_result:
            raise TooLarge("the result has more bytes than jobs.max_result")  # noqa: TRY301
        ending = Ending(job.id, job.fence, "completed", result)
    except FluxbaseError as error:
        ending = _failed(means, job, error)
    except Exception:
        log.exception("the job %s failed by a fault that nobody expected", job.id)
        ending = _failed(means, job, InternalError())
    finally:
        await teller.finish()
    return ending


async def _run(means: Means, job: Claimed, teller: Teller) -> JsonValue:
    if job.handler is None:
        raise UnknownJob("the job was withdrawn")
    try:
        who = await means.vouch(restored(job.principal))
    except Unauthenticated:
        raise Unauthenticated(
            "the key or the login that submitted the job is not valid any more"
        ) from None
    kind, _, target = job.handler.partition(":")
    key = f"job/{job.id}"
    handler = means.handlers.find(kind)
    task = Task(job.id, key, job.attempt, job.timeout, teller.report, teller.log)
    request = Request(who, f"job-{job.id}", None, effects=Effects(key))
    payload: Any = loads(job.payload.encode())

    async def work(ctx: Context) -> JsonValue:
        ctx.target = f"{job.namespace}.{job.name}"
        return await handler.run(ctx, target, payload, task)

    # None: the id of the request names the job, and what is done under its key is told by the key.
    arguments: dict[str, object] = {}
    deadline = Deadline(asyncio.get_running_loop().time() + job.timeout)
    try:
        with deadline:
            return await means.runner.run(request, "jobs/run", arguments, work)
    except TimeoutError:
        if not deadline.expired:
            raise HandlerFailed("the handler raised TimeoutError") from None
        raise DeadlineExceeded(f"the job ran into its time limit of {job.timeout:g} s") from None


def _failed(means: Means, job: Claimed, error: FluxbaseError) -> Ending:
    if error.code.startswith(_FINAL) or isinstance(error, TooLarge):
        return Ending(job.id, job.fence, "failed", error=error)
    longest = min(LONGEST_PAUSE, means.backoff * 2.0 ** min(job.attempt - 1, 30))
    # By chance within the whole of it: jobs that failed together shall not come again together.
    pause = max(random.random() * longest, error.retry_after or 0.0)  # noqa: S311
    return Ending(job.id, job.fence, "retry", error=error, pause=pause)


class Teller:
    """Keeps what a handler tells, at its own pace: a handler may tell more than anybody reads."""

    def __init__(self, database: Database, job: Claimed) -> None:
        self._database = database
        self._job = job
        self._progress: float | None = None
        self._message: str | None = None
        self._lines: list[dict[str, str]] = []
        self._kept = 0
        self._changed = False
        self._hurry: asyncio.Event | None = None  # most jobs tell nothing
        self._writer: asyncio.Task[None] | None = None

    async def report(self, percent: float | None, message: str | None) -> None:
        """Take in how far the job is."""
        if percent is not None:
            self._progress = min(max(float(percent), 0.0), 100.0)
        if message is not None:
            self._message = _clean(message, _LONGEST_MESSAGE)
        self._changed = True
        self._start()

    async def log(self, level: str, line: str) -> None:
        """Take in a line; of very many only the first ones are kept."""
        self._kept += 1
        if self._kept > _MOST_LINES + 1:
            return
        if self._kept > _MOST_LINES:
            level, line = "warning", "further lines are not kept"
        known = level if level in LEVELS else "info"
        at = datetime.now(UTC).isoformat()
        self._lines.append({"at": at, "level": known, "line": _clean(line, _LONGEST_LINE)})
        self._start()

    async def finish(self) -> None:
        """Write what is left."""
        if self._writer is not None and self._hurry is not None:
            self._hurry.set()
            await asyncio.wait((self._writer,))

    def _start(self) -> None:
        if self._writer is None or self._writer.done():
            self._hurry = self._hurry or asyncio.Event()
            self._writer = asyncio.create_task(self._keep_writing(self._hurry))

    async def _keep_writing(self, hurry: asyncio.Event) -> None:
        while self._changed or self._lines:
            with suppress(FluxbaseError):  # it is told anew with the next word
                await self._write()
            await pause(hurry, _TOLD_EVERY)

    async def _write(self) -> None:
        job = self._job
        if self._changed:
            self._changed = False
            await self._database.admin(
                "tell_progress",
                id=job.id,
                fence=job.fence,
                progress=self._progress,
                message=self._message,
            )
        lines, self._lines = self._lines, []
        if lines:
            text = orjson.dumps(lines).decode()
            await self._database.admin(
                "add_job_logs", job=job.id, fence=job.fence, attempt=job.attempt, lines=text
            )


def _clean(text: str, most: int) -> str:
    # Postgres keeps no NUL, and half a surrogate pair is no text.
    plain = str(text).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return plain if len(plain) <= most else plain[: most - 1] + "…"
