"""Keeps, finds, ends and awaits jobs for their callers; it must not run any.

What a caller may not see answers like what does not exist: the jobs of others, and its own ones of
a kind that it may not submit any more.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.errors import (
    Conflict,
    ConstraintViolation,
    InvalidArgument,
    RateLimited,
    TooLarge,
    UnknownJob,
)
from fluxbase.jobs import definitions
from fluxbase.jobs.identity import kept
from fluxbase.jobs.news import News
from fluxbase.strict_json import dumps, in_order
from fluxbase.toolkit.json_text import JsonValue
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ENDED: Final = ("completed", "failed", "cancelled")
_LOOKS: Final = 1.0  # seconds between looks at a job that nothing was told of


@dataclass(frozen=True, slots=True)
class JobRules:
    """What holds for the jobs of all callers, and the news of this process."""

    max_pending: int
    max_payload: int
    longest_wait: float
    news: News = field(default_factory=News)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or its last attempt did."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """A line that a job's handler told."""

    at: str
    attempt: int
    level: str
    line: str


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job: `progress` goes to 100; `error` is of the last attempt."""

    job_id: str
    job_name: str
    namespace: str
    status: str
    queue: str
    priority: int
    retry_count: int
    max_attempts: int
    created_at: str
    scheduled_at: str
    started_at: str | None
    completed_at: str | None
    progress: float | None
    message: str | None
    error: JobError | None
    result: JsonValue | None
    logs: list[JobLine]
    deduplicated: bool

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Wish:
    """A job as it is to be submitted."""

    name: str
    namespace: str
    payload: Any
    priority: int | None
    scheduled_at: str | None
    dedupe_key: str | None
    max_attempts: int | None
    idempotency_key: str | None

    def digest(self) -> str:
        """Return what tells it from another one."""
        said = (self.name, self.namespace, in_order(self.payload), self.priority)
        rest = (self.scheduled_at, self.dedupe_key, self.max_attempts)
        return sha256(dumps([*said, *rest])).hexdigest()


async def submit(ctx: Context, wish: Wish) -> JobStatus:
    """Keep a job, or return the one that it would be a double of.

    Raises:
        UnknownJob: the caller may not submit such jobs.
        Conflict: the idempotency key was used for another job.
        RateLimited: as many of the caller's jobs wait as may.
        FluxbaseError: an argument is wrong.
    """
    rules = ctx.service(JobRules)
    definition = await definitions.find(ctx, wish.namespace, wish.name)
    payload = dumps(wish.payload)
    if len(payload) > rules.max_payload:
        raise TooLarge(f"payload: at most {rules.max_payload} bytes of JSON")
    spec = {
        "definition": definition.id,
        "namespace": definition.namespace,
        "name": definition.name,
        "holder": ctx.who.owner,
        "principal": orjson.Fragment(kept(ctx.who)),
        "queue": definition.queue,
        "priority": definition.priority if wish.priority is None else wish.priority,
        "payload": orjson.Fragment(payload),
        "max_attempts": wish.max_attempts or definition.max_attempts,
        "dedupe_key": wish.dedupe_key,
        "idempotency_key": wish.idempotency_key,
        "call_digest": wish.digest(),
        "scheduled_at": _moment(wish.scheduled_at),
    }
    await ctx.record(definition.full_name)
    text = orjson.dumps(spec).decode()
    [row] = await ctx.database.admin("submit_job", spec=text, most=rules.max_pending)
    if row["known"] == "other":
        raise Conflict("idempotency_key: this key was used for another job")
    if row["known"] == "full":
        raise RateLimited(f"{rules.max_pending} jobs of this key wait already", retry_after=5)
    return await find(ctx, row["id"], deduplicated=row["known"] != "new")


async def find(ctx: Context, job: str, logs: int = 0, *, deduplicated: bool = False) -> JobStatus:
    """Return one job.

    Raises:
        UnknownJob: there is none for the caller.
    """
    row = await _row(ctx, job)
    lines: Sequence[Record] = ()
    if logs:
        lines = await ctx.database.admin("job_logs", job=job, most=logs)
    return status(row, lines, deduplicated=deduplicated)


async def listed(
    ctx: Context,
    wanted: str | None,
    namespace: str | None,
    name: str | None,
    after: str | None,
    most: int,
) -> tuple[list[JobStatus], str | None]:
    """Return jobs of the caller's, the newest first, and where to go on."""
    at, _, id_ = after.partition(" ") if after else ("", "", "")
    if after and not (_UUID.fullmatch(id_) and _is_moment(at)):
        raise InvalidArgument("after: give next_after of the page before")
    rows = await ctx.database.admin(
        "list_jobs",
        holder=None if ctx.who.is_service else ctx.who.owner,
        definitions=await definitions.ids_of_visible(ctx),
        status=wanted,
        namespace=namespace,
        name=name,
        before_at=at or None,
        before_id=id_ or None,
        most=most + 1,
    )
    found = [status(row) for row in rows[:most]]
    last = found[-1] if len(rows) > most else None
    return found, f"{last.created_at.replace(' ', 'T')} {last.job_id}" if last else None


async def cancel(ctx: Context, job: str) -> JobStatus:
    """End a job that waits or runs.

    Raises:
        UnknownJob: there is none for the caller.
        Conflict: it ended already.
    """
    row = await _row(ctx, job)
    await ctx.record(f"{row['namespace']}.{row['name']}")
    if not await ctx.database.admin("cancel_job", id=job):
        raise Conflict("the job ended already")
    return await find(ctx, job)


async def retry(ctx: Context, job: str) -> JobStatus:
    """Let a job run again that failed or was cancelled.

    Raises:
        UnknownJob: there is none for the caller, or it may not be submitted any more.
        Conflict: it waits, runs or was completed, or its double waits.
    """
    row = await _row(ctx, job)
    definition = await definitions.find(ctx, row["namespace"], row["name"])
    await ctx.record(definition.full_name)
    try:
        done = await ctx.database.admin("retry_job", id=job, definition=definition.id)
    except ConstraintViolation:
        raise Conflict("another job with its dedupe_key waits or runs") from None
    if not done:
        raise Conflict("only a job that failed or was cancelled can be run again")
    return await find(ctx, job)


async def wait(ctx: Context, job: str, seconds: float) -> None:
    """Return when a job has ended or the time is over, telling the client how far it is.

    Raises:
        UnknownJob: there is none for the caller.
    """
    rules = ctx.service(JobRules)
    end = time.monotonic() + min(seconds, rules.longest_wait)
    with rules.news.of(job) as bell:
        while True:
            bell.clear()
            found = await find(ctx, job)
            left = end - time.monotonic()
            if found.ended or left <= 0:
                return
            message = found.message or found.status
            await ctx.client.progress(found.progress or 0.0, 100.0, message)
            await pause(bell, min(left, _LOOKS))


def status(row: Record, lines: Sequence[Record] = (), *, deduplicated: bool = False) -> JobStatus:
    """Return what a caller is told of a job."""
    error = orjson.loads(row["error"]) if row["error"] else None
    return JobStatus(
        job_id=row["id"],
        job_name=row["name"],
        namespace=row["namespace"],
        status=row["status"],
        queue=row["queue"],
        priority=row["priority"],
        retry_count=max(row["attempt"] - 1, 0),
        max_attempts=row["max_attempts"],
        created_at=row["created_at"],
        scheduled_at=row["scheduled_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        progress=row["progress"],
        message=row["message"],
        error=JobError(error["code"], error["message"]) if error else None,
        result=JsonValue(row["result"]) if row["result"] is not None else None,
        logs=[JobLine(*line) for line in lines],
        deduplicated=deduplicated,
    )


async def _row(ctx: Context, job: str) -> Record:
    rows: Sequence[Record] = ()
    if _UUID.fullmatch(job):
        rows = await ctx.database.admin(
            "find_job",
            id=job,
            holder=None if ctx.who.is_service else ctx.who.owner,
            definitions=await definitions.ids_of_visible(ctx),
        )
    if not rows:
        raise UnknownJob(hint="list_jobs shows the jobs of this key")
    return rows[0]


def _moment(text: str | None) -> str | None:
    """Return a time as Postgres takes it.

    Raises:
        InvalidArgument: it is not one.
    """
    if text is None:
        return None
    if not _is_moment(text):
        raise InvalidArgument("scheduled_at: a time such as 2030-01-31T12:00:00Z is needed")
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
