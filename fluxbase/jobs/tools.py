"""The tools that submit, watch and end jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from fluxbase.jobs import definitions, ledger
from fluxbase.jobs.ledger import JobStatus, Wish
from fluxbase.toolkit import Context, tool

_JOBS = ("execute:jobs",)

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$", description="Name of the job")
]
Namespace = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Its namespace")]
JobId = Annotated[str, Field(max_length=36, description="As submit_job returned it")]
Key = Annotated[str, Field(min_length=1, max_length=255)]
Priority = Annotated[
    int, Field(ge=-100, le=100, description="Higher ones run first; those that wait long do too")
]
Wait = Annotated[
    float,
    Field(
        ge=0,
        le=300,
        description="Answer when the job has ended, or after so many seconds; never longer than "
        "a request may take",
    ),
]


@dataclass(frozen=True, slots=True)
class JobType:
    """A job that the caller may submit."""

    job_name: str
    namespace: str
    description: str | None
    queue: str
    priority: int
    timeout_seconds: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class JobTypes:
    """The jobs there are for the caller."""

    job_types: list[JobType]
    count: int


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A job in a list."""

    job_id: str
    job_name: str
    namespace: str
    status: str
    priority: int
    retry_count: int
    progress: float | None
    message: str | None
    error_code: str | None
    created_at: str
    scheduled_at: str
    started_at: str | None
    completed_at: str | None


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs, the newest first; `next_after` leads to the older ones."""

    jobs: list[JobEntry]
    count: int
    next_after: str | None


@tool(scopes=_JOBS, title="List job types", read_only=True, untrusted=True)
async def list_job_types(
    ctx: Context,
    namespace: Annotated[str | None, Field(description="Only those of this namespace")] = None,
) -> JobTypes:
    """List the jobs that the caller may submit."""
    found = [
        JobType(d.name, d.namespace, d.description, d.queue, d.priority, d.timeout, d.max_attempts)
        for d in await definitions.visible(ctx, namespace)
    ]
    ctx.rows = len(found)
    return JobTypes(found, len(found))


@tool(scopes=_JOBS, title="Submit job", untrusted=True)
async def submit_job(
    ctx: Context,
    job_name: Name,
    namespace: Namespace = "default",
    payload: Annotated[Any, Field(description="What its handler takes, as JSON")] = None,
    priority: Priority | None = None,
    scheduled_at: Annotated[
        str | None,
        Field(max_length=40, description="Not before this time: 2030-01-31T12:00:00Z"),
    ] = None,
    dedupe_key: Annotated[
        Key | None,
        Field(
            description="While such a job of the caller's with this key waits or runs, it is "
            "returned and no other one is made"
        ),
    ] = None,
    max_attempts: Annotated[
        int | None, Field(ge=1, le=100, description="Fewer or more attempts than usual")
    ] = None,
    wait_seconds: Wait = 0,
    idempotency_key: Annotated[
        Key | None,
        Field(description="The same call with the same key again returns the same job"),
    ] = None,
) -> JobStatus:
    """Have a job done in the background, with the caller's own rights.

    Ask get_job_status how it goes, or read and subscribe to fluxbase://jobs/{job_id}.
    """
    wish = Wish(
        job_name,
        namespace,
        {} if payload is None else payload,
        priority,
        scheduled_at,
        dedupe_key,
        max_attempts,
        idempotency_key,
    )
    submitted = await ledger.submit(ctx, wish)
    if not wait_seconds or submitted.ended:
        return submitted
    await ledger.wait(ctx, submitted.job_id, wait_seconds)
    return await ledger.find(ctx, submitted.job_id, deduplicated=submitted.deduplicated)


@tool(scopes=_JOBS, title="Get status of a job", read_only=True, untrusted=True)
async def get_job_status(
    ctx: Context,
    job_id: JobId,
    wait_seconds: Wait = 0,
    log_lines: Annotated[
        int, Field(ge=0, le=200, description="So many of the last lines that it told")
    ] = 0,
) -> JobStatus:
    """Tell how one of the caller's jobs goes: status, progress, result or error."""
    if wait_seconds:
        await ledger.wait(ctx, job_id, wait_seconds)
    return await ledger.find(ctx, job_id, log_lines)


@tool(scopes=_JOBS, title="List jobs", read_only=True, untrusted=True)
async def list_jobs(
    ctx: Context,
    status: Annotated[
        Literal["pending", "running", "completed", "failed", "cancelled"] | None,
        Field(description="Only those"),
    ] = None,
    namespace: Annotated[str | None, Field(description="Only those of this namespace")] = None,
    job_name: Annotated[str | None, Field(description="Only those of this name")] = None,
    limit: Annotated[int, Field(ge=1, le=1000, description="Most jobs in the answer")] = 50,
    after: Annotated[
        str | None, Field(max_length=100, description="next_after of the page before")
    ] = None,
) -> Jobs:
    """List the caller's jobs, the newest first."""
    most = min(limit, ctx.max_rows)
    found, more = await ledger.listed(ctx, status, namespace, job_name, after, most)
    ctx.rows = len(found)
    return Jobs([entry(job) for job in found], len(found), more)


@tool(scopes=_JOBS, title="Cancel job", destructive=True, untrusted=True)
async def cancel_job(ctx: Context, job_id: JobId) -> JobEntry:
    """Cancel one of the caller's jobs, whether it waits or runs.

    What its handler has done by then stays done.
    """
    return entry(await ledger.cancel(ctx, job_id))


@tool(scopes=_JOBS, title="Retry job", untrusted=True)
async def retry_job(ctx: Context, job_id: JobId) -> JobEntry:
    """Run one of the caller's jobs again that failed or was cancelled, with all its attempts."""
    return entry(await ledger.retry(ctx, job_id))


def entry(job: JobStatus) -> JobEntry:
    """Return a job as a list has it."""
    return JobEntry(
        job_id=job.job_id,
        job_name=job.job_name,
        namespace=job.namespace,
        status=job.status,
        priority=job.priority,
        retry_count=job.retry_count,
        progress=job.progress,
        message=job.message,
        error_code=job.error.code if job.error else None,
        created_at=job.created_at,
        scheduled_at=job.scheduled_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
    )
