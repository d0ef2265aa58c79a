"""Which jobs may be submitted, by whom, and what handles them; it must not submit or run any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.errors import UnknownJob
from fluxbase.toolkit.audience import admitted

if TYPE_CHECKING:
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Definition:
    """A kind of job."""

    id: str
    namespace: str
    name: str
    handler: str
    description: str | None
    public: bool
    roles: frozenset[str]
    scopes: frozenset[str]
    queue: str
    priority: int
    timeout: float
    max_attempts: int
    concurrency: int | None

    @property
    def full_name(self) -> str:
        """Return `namespace.name`."""
        return f"{self.namespace}.{self.name}"


async def visible(
    ctx: Context, namespace: str | None = None, name: str | None = None
) -> list[Definition]:
    """Return the kinds of jobs that the caller may submit."""
    rows = await ctx.database.admin("load_definitions", namespace=namespace, name=name)
    return await admitted(ctx, map(_definition, rows))


async def find(ctx: Context, namespace: str, name: str) -> Definition:
    """Return one kind of job.

    Raises:
        UnknownJob: there is none of that name for the caller.
    """
    for found in await visible(ctx, namespace, name):
        return found
    raise UnknownJob(hint="list_job_types shows the jobs this key may submit")


async def ids_of_visible(ctx: Context) -> list[str] | None:
    """Return which kinds of jobs the caller is told of; `None`: of all."""
    return None if ctx.who.is_service else [d.id for d in await visible(ctx)]


def _definition(row: Record) -> Definition:
    return Definition(
        id=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        handler=row["handler"],
        description=row["description"],
        public=row["public"],
        roles=frozenset(row["required_roles"]),
        scopes=frozenset(row["required_scopes"]),
        queue=row["queue"],
        priority=row["priority"],
        timeout=row["timeout_seconds"],
        max_attempts=row["max_attempts"],
        concurrency=row["concurrency"],
    )
