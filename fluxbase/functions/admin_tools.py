"""The tools by which administrators deploy functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from fluxbase.errors import InvalidArgument
from fluxbase.functions import deploy
from fluxbase.functions.deploy import Deployed, Rules
from fluxbase.functions.service import Functions
from fluxbase.functions.tools import Name, Namespace  # noqa: TC001 - read by @tool
from fluxbase.toolkit import Context, tool

_DDL = ("admin:ddl",)

Words = Annotated[list[str], Field(max_length=20)]
Version = Annotated[int | None, Field(ge=1, description="Or the one before the one in force")]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A version that is in force again."""

    namespace: str
    name: str
    version: int
    before: int


@dataclass(frozen=True, slots=True)
class FunctionDeleted:
    """A function that is not there any more."""

    deleted: bool
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One version of a function; `size` is in bytes."""

    version: int
    active: bool
    deployed_by: str
    created_at: str
    size: int


@dataclass(frozen=True, slots=True)
class FunctionVersions:
    """The versions of a function, the newest first."""

    versions: list[FunctionVersion]
    count: int


@tool(scopes=_DDL, title="Deploy function", service=True, idempotent=True)
async def deploy_function(
    ctx: Context,
    name: Name,
    code: Annotated[
        str | None,
        Field(
            max_length=1_000_000, description="TypeScript: export default (req) => new Response()"
        ),
    ] = None,
    files: Annotated[
        dict[str, str] | None, Field(description="Or several files by their paths, with index.ts")
    ] = None,
    namespace: Namespace = "default",
    description: Annotated[str | None, Field(max_length=1000)] = None,
    public: Annotated[
        bool, Field(description="Every key with execute:functions may invoke it")
    ] = False,
    required_roles: Annotated[
        Words | None, Field(description="Or those with one of these roles")
    ] = None,
    required_scopes: Annotated[
        Words | None, Field(description="And with all of these scopes")
    ] = None,
    timeout_seconds: Annotated[
        float | None, Field(gt=0, le=3600, description="Its time limit")
    ] = None,
    runs_as: Annotated[
        Literal["caller", "service"],
        Field(description="Whose rights it has: its caller's, or those of a service key"),
    ] = "caller",
    isolation: Annotated[
        Literal["caller", "shared"],
        Field(description="shared: calls of several callers follow each other in one process"),
    ] = "caller",
) -> Deployed:
    """Bundle an edge function with all that it imports and put it into force as a new version."""
    if (code is None) == (files is None):
        raise InvalidArgument("code, files: give one of them")
    functions = ctx.service(Functions)
    rules = Rules(
        description,
        public,
        tuple(required_roles or ()),
        tuple(required_scopes or ()),
        timeout_seconds or functions.config.timeout,
        runs_as,
        isolation,
    )
    given = files if files is not None else {"index.ts": code or ""}
    return await deploy.deploy(ctx, functions, (namespace, name), given, rules)


@tool(scopes=_DDL, title="List versions of a function", service=True, read_only=True)
async def list_function_versions(
    ctx: Context, name: Name, namespace: Namespace = "default"
) -> FunctionVersions:
    """List the versions of a function that are kept, the newest first."""
    found = [FunctionVersion(**row) for row in await deploy.versions(ctx, (namespace, name))]
    ctx.rows = len(found)
    return FunctionVersions(found, len(found))


@tool(scopes=_DDL, title="Roll back function", service=True, destructive=True)
async def rollback_function(
    ctx: Context, name: Name, namespace: Namespace = "default", version: Version = None
) -> RolledBack:
    """Put an earlier version of a function into force again."""
    functions = ctx.service(Functions)
    now, before = await deploy.roll_back(ctx, functions, (namespace, name), version)
    return RolledBack(namespace, name, now, before)


@tool(scopes=_DDL, title="Delete function", service=True, destructive=True)
async def delete_function(
    ctx: Context, name: Name, namespace: Namespace = "default"
) -> FunctionDeleted:
    """Delete a function and all its versions; what is known of its calls stays."""
    await deploy.delete(ctx, ctx.service(Functions), (namespace, name))
    return FunctionDeleted(True, namespace, name)
