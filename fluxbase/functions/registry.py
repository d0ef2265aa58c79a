"""What functions there are, for whom, and their code; it must not run anything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.errors import UnknownFunction
from fluxbase.toolkit.audience import admitted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

_LIVE: Final = 5.0  # seconds, for when announcements cannot be heard


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is deployed."""

    id: str
    namespace: str
    name: str
    description: str | None
    public: bool
    roles: frozenset[str]
    scopes: frozenset[str]
    timeout: float
    runs_as: str
    isolation: str
    version: int
    file: str | None
    updated_at: str

    @property
    def full_name(self) -> str:
        """Return `namespace.name`."""
        return f"{self.namespace}.{self.name}"


class Registry:
    """The functions of the database, remembered until they change."""

    def __init__(self, database: Database, on_change: Callable[[Mapping[str, int]], None]) -> None:
        self._database = database
        self._on_change = on_change
        self._known: dict[tuple[str, str], Function] | None = None
        self._asked = 0.0
        self.forgotten = 0

    def forget(self) -> None:
        """Ask Postgres again the next time."""
        self._known = None
        self.forgotten += 1

    async def all(self) -> Mapping[tuple[str, str], Function]:
        """Return every function by namespace and name.

        Raises:
            Unavailable: the database is needed and does not answer.
        """
        known = self._known
        if known is None or time.monotonic() - self._asked > _LIVE:
            asked, count = time.monotonic(), self.forgotten
            rows = await self._database.admin("load_functions", namespace=None, name=None)
            known = {(f.namespace, f.name): f for f in map(_function, rows)}
            if count == self.forgotten:  # else they changed while they were being read
                self._known, self._asked = known, asked
            self._on_change({f.id: f.version for f in known.values()})
        return known

    async def code(self, function: Function) -> str:
        """Return the module of the version in force.

        Raises:
            UnknownFunction: it was deleted this moment.
        """
        rows = await self._database.admin(
            "load_code", function=function.id, version=function.version
        )
        if not rows:
            raise UnknownFunction
        return rows[0]["code"]


async def visible(ctx: Context, registry: Registry, namespace: str | None = None) -> list[Function]:
    """Return the functions that the caller may invoke, in the order of their names."""
    known = (await registry.all()).values()
    return await _invocable(ctx, [f for f in known if namespace in (None, f.namespace)])


async def find(ctx: Context, registry: Registry, namespace: str, name: str) -> Function:
    """Return one function.

    Raises:
        UnknownFunction: there is none of that name for the caller.
    """
    known = (await registry.all()).get((namespace, name))
    for found in await _invocable(ctx, [known] if known is not None else []):
        return found
    raise UnknownFunction(hint="list_functions shows the functions this key may invoke")


async def _invocable(ctx: Context, functions: list[Function]) -> list[Function]:
    found = await admitted(ctx, functions)
    # What runs with the rights of a service key may write whatever its caller may not.
    return [f for f in found if not (ctx.who.read_only and f.runs_as == "service")]


def _function(row: Record) -> Function:
    return Function(
        id=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        description=row["description"],
        public=row["public"],
        roles=frozenset(row["required_roles"]),
        scopes=frozenset(row["required_scopes"]),
        timeout=row["timeout_seconds"],
        runs_as=row["runs_as"],
        isolation=row["isolation"],
        version=row["version"],
        file=row["file"],
        updated_at=row["updated_at"],
    )
