"""The tools that call procedures, and publish them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from fluxbase.errors import InvalidArgument, UnknownProcedure
from fluxbase.principal import parse_scopes
from fluxbase.rpc import call, procedures
from fluxbase.rpc.procedures import publishable
from fluxbase.rpc.running import Executions
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonValue

_RPC = ("execute:rpc",)
_DDL = ("admin:ddl",)

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$", description="Name of the procedure")
]
Namespace = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Its namespace")]
Words = Annotated[list[str], Field(max_length=20)]


@dataclass(frozen=True, slots=True)
class ProcedureEntry:
    """A procedure that the caller may call, and what it takes and gives."""

    name: str
    namespace: str
    description: str | None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    max_execution_time_seconds: float
    max_rows: int
    read_only: bool
    cache_seconds: float


@dataclass(frozen=True, slots=True)
class Procedures:
    """The procedures there are for the caller."""

    procedures: list[ProcedureEntry]
    count: int


@dataclass(frozen=True, slots=True)
class Invocation:
    """How a call ended, and what it gave: rows of a set, or the one value."""

    status: str
    execution_id: str
    rows_returned: int | None
    duration_ms: float | None
    truncated: bool
    cached: bool
    data: JsonValue


@dataclass(frozen=True, slots=True)
class Published:
    """A function that is published as a procedure."""

    namespace: str
    name: str
    function: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A procedure that is not published any more."""

    withdrawn: bool
    namespace: str
    name: str


@tool(scopes=_RPC, title="List procedures", read_only=True, untrusted=True)
async def list_rpc(
    ctx: Context,
    namespace: Annotated[str | None, Field(description="Only those of this namespace")] = None,
) -> Procedures:
    """List the procedures the caller may call, with the schemas of what they take and give."""
    found = [entry(p) for p in await procedures.visible(ctx, namespace)]
    ctx.rows = len(found)
    return Procedures(found, len(found))


@tool(scopes=_RPC, title="Invoke procedure", destructive=True, untrusted=True, for_readers=True)
async def invoke_rpc(
    ctx: Context,
    name: Name,
    namespace: Namespace = "default",
    params: Annotated[
        dict[str, Any] | None, Field(description="Its parameters by name, as list_rpc tells them")
    ] = None,
    background: Annotated[
        bool,
        Field(
            alias="async",
            description="Return at once; get_rpc_execution waits for it, and gives its data",
        ),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="The same key with the same call gives the first answer, for a day",
        ),
    ] = None,
) -> Invocation:
    """Call a published procedure with the caller's own rights, in one transaction.

    `data` is an array of rows where the procedure returns a set, else its one value. With `async`
    it runs for as long as its time limit allows, and `status` is running.
    """
    procedure = await procedures.find(ctx, namespace, name)
    if background:
        begun = await ctx.service(Executions).start(ctx, procedure, params or {}, idempotency_key)
        ctx.target, ctx.recorded = procedure.full_name, True  # it will be recorded by itself
        return Invocation("running", begun.id, None, None, False, False, JsonValue("null"))
    done = await call.call(ctx, procedure, params or {}, key=idempotency_key)
    return _answered(done)


@tool(scopes=_DDL, title="Publish procedure", service=True, idempotent=True)
async def publish_procedure(
    ctx: Context,
    name: Name,
    function: Annotated[
        str,
        Field(
            min_length=3,
            max_length=1000,
            description="A function with the types of its arguments: public.add(integer, integer)",
        ),
    ],
    namespace: Namespace = "default",
    public: Annotated[bool, Field(description="Every key with execute:rpc may call it")] = False,
    required_roles: Annotated[
        Words | None, Field(description="Or those with one of these roles")
    ] = None,
    required_scopes: Annotated[
        Words | None, Field(description="And with all of these scopes")
    ] = None,
    timeout_seconds: Annotated[float, Field(gt=0, le=3600, description="Its time limit")] = 30,
    max_rows: Annotated[int, Field(ge=1, le=100_000, description="Most rows it gives")] = 1000,
    read_only: Annotated[bool, Field(description="It runs where nothing can be changed")] = False,
    cache_seconds: Annotated[
        float,
        Field(ge=0, le=86_400, description="Keep each caller's answers so long; if read_only"),
    ] = 0,
) -> Published:
    """Let keys call a function of the database, each with its own rights."""
    if cache_seconds and not read_only:
        raise InvalidArgument("cache_seconds: only what is read_only gives the same answer again")
    if not public and not required_roles:
        raise InvalidArgument("public, required_roles: one of them says who may call it")
    scopes = list(parse_scopes(required_scopes or []))
    known = publishable(await ctx.database.admin("find_function", function=function))
    await ctx.record(f"{namespace}.{name}")
    [done] = await ctx.database.admin(
        "publish_procedure",
        namespace=namespace,
        name=name,
        function=known,
        public=public,
        roles=required_roles or [],
        scopes=scopes,
        timeout=timeout_seconds,
        max_rows=max_rows,
        read_only=read_only,
        cache=cache_seconds,
        file=None,
    )
    return Published(namespace, name, known, done["known"])


@tool(scopes=_DDL, title="Withdraw procedure", service=True, destructive=True)
async def withdraw_procedure(
    ctx: Context, name: Name, namespace: Namespace = "default"
) -> Withdrawn:
    """Publish a procedure no longer; its function stays."""
    await ctx.record(f"{namespace}.{name}")
    if not await ctx.database.admin("withdraw_procedure", namespace=namespace, name=name):
        raise UnknownProcedure(hint="list_rpc shows those there are")
    return Withdrawn(True, namespace, name)


def _answered(done: call.Outcome) -> Invocation:
    given = done.given
    return Invocation(
        "completed",
        given.execution,
        given.rows,
        done.ms,
        given.truncated,
        done.cached,
        JsonValue(given.data),
    )


def entry(procedure: procedures.Procedure) -> ProcedureEntry:
    """Return what a caller is told of a procedure."""
    return ProcedureEntry(
        procedure.name,
        procedure.namespace,
        procedure.comment,
        procedure.input_schema(),
        procedure.output_schema(),
        procedure.timeout,
        procedure.max_rows,
        procedure.read_only,
        procedure.cache_seconds,
    )
