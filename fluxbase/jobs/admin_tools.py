"""The tools by which administrators publish jobs and schedule them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from fluxbase.errors import InvalidArgument, TooLarge, UnknownJob
from fluxbase.jobs import definitions, schedules
from fluxbase.jobs.identity import kept
from fluxbase.jobs.ledger import JobRules
from fluxbase.jobs.tools import Name, Namespace, Priority  # noqa: TC001 - pydantic reads them
from fluxbase.principal import parse_scopes
from fluxbase.strict_json import dumps
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.handlers import Handlers

_DDL = ("admin:ddl",)

Words = Annotated[list[str], Field(max_length=20)]
ScheduleName = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$", description="Name of the schedule")
]


@dataclass(frozen=True, slots=True)
class PublishedJob:
    """A job that may be submitted."""

    namespace: str
    name: str
    handler: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class WithdrawnJob:
    """A job that cannot be submitted any more, and how many that waited were cancelled."""

    withdrawn: bool
    namespace: str
    name: str
    cancelled: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is submitted by itself."""

    name: str
    job_name: str
    namespace: str
    cron: str
    time_zone: str
    missed: str
    priority: int
    next_at: str
    last_at: str | None
    last_job: str | None
    last_status: str | None


@dataclass(frozen=True, slots=True)
class Schedules:
    """Every schedule."""

    schedules: list[Schedule]
    count: int


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule that was made, or replaced one of its name."""

    name: str
    next_at: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class Unscheduled:
    """A schedule that was deleted."""

    deleted: bool
    name: str


@tool(scopes=_DDL, title="Publish job", service=True, idempotent=True)
async def publish_job(
    ctx: Context,
    name: Name,
    handler: Annotated[
        str,
        Field(
            pattern=r"^[a-z]+:.{1,200}$",
            description="What does it: rpc:namespace.name, function:namespace.name, or "
            "python:name of a function in jobs.handlers",
        ),
    ],
    namespace: Namespace = "default",
    description: Annotated[
        str | None, Field(max_length=1000, description="What it does, for who may submit it")
    ] = None,
    public: Annotated[bool, Field(description="Every key with execute:jobs may submit it")] = False,
    required_roles: Annotated[
        Words | None, Field(description="Or those with one of these roles")
    ] = None,
    required_scopes: Annotated[
        Words | None, Field(description="And with all of these scopes")
    ] = None,
    queue: Annotated[
        str,
        Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Queue that such jobs wait in"),
    ] = "default",
    priority: Priority = 0,
    timeout_seconds: Annotated[
        float, Field(gt=0, le=86_400, description="Time limit of one attempt")
    ] = 300,
    max_attempts: Annotated[
        int, Field(ge=1, le=100, description="After so many it has failed")
    ] = 5,
    concurrency: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Most of them that run at once, on all servers together"),
    ] = None,
) -> PublishedJob:
    """Let keys submit a job, which then runs with the rights of each of them."""
    if not public and not required_roles:
        raise InvalidArgument("public, required_roles: one of them says who may submit it")
    scopes = list(parse_scopes(required_scopes or []))
    kind, _, target = handler.partition(":")
    await ctx.service(Handlers).find(kind).check(ctx, target)
    await ctx.record(f"{namespace}.{name}")
    [done] = await ctx.database.admin(
        "publish_job",
        namespace=namespace,
        name=name,
        handler=handler,
        description=description,
        public=public,
        roles=required_roles or [],
        scopes=scopes,
        queue=queue,
        priority=priority,
        timeout=timeout_seconds,
        max_attempts=max_attempts,
        concurrency=concurrency,
    )
    return PublishedJob(namespace, name, handler, done["known"])


@tool(scopes=_DDL, title="Withdraw job", service=True, destructive=True)
async def withdraw_job(ctx: Context, name: Name, namespace: Namespace = "default") -> WithdrawnJob:
    """Let a job be submitted no longer; cancel those that wait, and delete its schedules."""
    await ctx.record(f"{namespace}.{name}")
    gone = await ctx.database.admin("withdraw_job", namespace=namespace, name=name)
    if not gone:
        raise UnknownJob(hint="list_job_types shows those there are")
    return WithdrawnJob(True, namespace, name, gone[0]["many"])


@tool(scopes=_DDL, title="List schedules", service=True, read_only=True)
async def list_schedules(ctx: Context) -> Schedules:
    """List the schedules, when each runs next, and how its last job went."""
    rows = await ctx.database.admin("load_schedules")
    found = [
        Schedule(
            name=row["name"],
            job_name=row["job_name"],
            namespace=row["namespace"],
            cron=row["cron"],
            time_zone=row["time_zone"],
            missed=row["missed"],
            priority=row["priority"],
            next_at=row["next_at"],
            last_at=row["last_at"],
            last_job=row["last_job"],
            last_status=row["last_status"],
        )
        for row in rows
    ]
    ctx.rows = len(found)
    return Schedules(found, len(found))


@tool(scopes=_DDL, title="Create schedule", service=True, idempotent=True)
async def create_schedule(
    ctx: Context,
    name: ScheduleName,
    job_name: Name,
    cron: Annotated[
        str,
        Field(
            min_length=9,
            max_length=200,
            description="Minute, hour, day, month, weekday: 30 6 * * MON-FRI",
        ),
    ],
    namespace: Namespace = "default",
    time_zone: Annotated[
        str, Field(max_length=64, description="In which the times are: Europe/Berlin")
    ] = "UTC",
    payload: Annotated[Any, Field(description="What the job takes, as JSON")] = None,
    missed: Annotated[
        Literal["skip", "once"],
        Field(
            description="When times went by while no server ran: once runs it once for all of "
            "them, skip waits for the next time"
        ),
    ] = "once",
    priority: Priority | None = None,
) -> Scheduled:
    """Have a job submitted again and again, as this key; one of the same name is replaced."""
    written = dumps({} if payload is None else payload)
    if len(written) > ctx.service(JobRules).max_payload:
        raise TooLarge("payload: it has more bytes than jobs.max_payload")
    definition = await definitions.find(ctx, namespace, job_name)
    [clock] = await ctx.database.admin("read_clock")
    following = schedules.following(cron, time_zone, clock["now"])
    await ctx.record(name)
    [done] = await ctx.database.admin(
        "put_schedule",
        name=name,
        definition=definition.id,
        cron=cron,
        time_zone=time_zone,
        missed=missed,
        payload=written.decode(),
        priority=definition.priority if priority is None else priority,
        holder=ctx.who.owner,
        principal=kept(ctx.who),
        next_at=following.isoformat(),
    )
    return Scheduled(name, done["next_at"], done["known"])


@tool(scopes=_DDL, title="Delete schedule", service=True, destructive=True)
async def delete_schedule(ctx: Context, name: ScheduleName) -> Unscheduled:
    """Submit a job by itself no longer; jobs that were submitted stay."""
    await ctx.record(name)
    if not await ctx.database.admin("delete_schedule", name=name):
        raise UnknownJob("no such schedule", hint="list_schedules shows those there are")
    return Unscheduled(True, name)
