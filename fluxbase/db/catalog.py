"""The cached catalog: the only source of identifiers, and of who may see which of them.

It must not decide what a tool does with a table. What a caller may not see does not exist here
for that caller: asking for it raises the same error as asking for what was never there.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import orjson

from fluxbase.db.links import Links
from fluxbase.db.relation import Grant, Relation, Visible, relation
from fluxbase.db.sight import Sight
from fluxbase.db.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbase.config.model import Database as DatabaseConfig
    from fluxbase.db.types import Record
    from fluxbase.principal import Principal

_ROLES_KEPT: Final = 2048
_GRANTS_LIVE: Final = 300.0  # seconds; membership of roles changes without an event trigger


# Role, whether it is a service key, and the key's own lists of schemas and tables.
Seen: TypeAlias = tuple[str, bool, tuple[str, ...], tuple[str, ...]]


class Fetch(Protocol):
    """Runs a named query on the admin login."""

    async def __call__(self, name: str, /, **arguments: object) -> list[Record]:
        """Return the rows of `name`."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """What one role may do: its grants by relation, and the roles whose policies apply to it."""

    grants: Mapping[int, Grant]
    roles: frozenset[str]
    loaded: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All relations at one moment."""

    by_name: Mapping[tuple[str, str], Relation]
    by_oid: Mapping[int, Relation]
    links: Links
    reach: OrderedDict[str, Reach] = field(default_factory=OrderedDict[str, Reach])
    sights: OrderedDict[Seen, Sight] = field(default_factory=OrderedDict["Seen", "Sight"])


class Catalog:
    """Loads the catalog when first asked and again after every change."""

    def __init__(
        self, config: DatabaseConfig, fetch: Fetch, *, loaded: Callable[[], Awaitable[None]]
    ) -> None:
        """Remember what to ask; `loaded` is awaited after every load, before anybody sees it."""
        self._config = config
        self._fetch = fetch
        self._loaded = loaded
        self._snapshot: Snapshot | None = None
        self._fingerprint = ""
        self._loads: SingleFlight[Snapshot] = SingleFlight()
        self._reaches: SingleFlight[Reach] = SingleFlight()
        self.version = 0

    def forget(self) -> None:
        """Drop what is remembered; the next call loads it anew."""
        self._snapshot = None
        self.version += 1

    def forget_role(self, role: str) -> None:
        """Drop what is remembered of one role's rights; its key was changed."""
        if self._snapshot is not None:
            self._snapshot.reach.pop(role, None)

    async def compare(self) -> None:
        """Forget everything when the catalog changed; for databases that do not announce it."""
        fingerprint = str((await self._fetch("catalog_fingerprint"))[0]["fingerprint"])
        if self._fingerprint != fingerprint:
            self._fingerprint = fingerprint
            self.forget()

    async def visible(self, who: Principal) -> Mapping[tuple[str, str], Visible]:
        """Return every relation the caller may see, by schema and name, in that order."""
        return (await self.sight(who)).tables

    async def sight(self, who: Principal) -> Sight:
        """Return all that the caller may see; callers with equal rights share one."""
        snapshot = self._snapshot or await self._load()
        reach = _known(snapshot, who.role) or await self._reach(snapshot, who.role)
        # What the answer depends on, rather than the caller: a user has a new token every hour.
        key = (who.role, who.is_service, who.allowed_schemas, who.allowed_tables)
        sight = snapshot.sights.get(key)
        if sight is None:
            sight = self._sight(snapshot, reach, who)
            snapshot.sights[key] = sight
            if len(snapshot.sights) > _ROLES_KEPT:
                snapshot.sights.popitem(last=False)
        return sight

    async def find(self, who: Principal, table: str) -> Visible:
        """Return the relation that `table` or `schema.table` names for the caller.

        Raises:
            UnknownTable: there is none that this caller may see.
        """
        return (await self.sight(who)).find(table)

    async def roles_of(self, who: Principal) -> frozenset[str]:
        """Return the roles whose policies apply to the caller."""
        return (await self._reach(await self._load(), who.role)).roles

    async def hidden_names(self, who: Principal) -> frozenset[str]:
        """Return the names of tables that the caller may not see, and no visible one shares."""
        seen = {name for _, name in await self.visible(who)}
        return frozenset(rel.name for rel in (await self._load()).by_oid.values()) - seen

    async def by_oid(self, who: Principal, oid: int) -> Visible | None:
        """Return a relation by its oid when the caller may see it."""
        return (await self.sight(who)).by_oid.get(oid)

    def short_name(self, rel: Relation) -> str:
        """Return the name a caller writes: without the schema when it is the first exposed one."""
        return rel.name if rel.schema == self._config.exposed_schemas[0] else rel.full_name

    def _shown(self, rel: Relation, who: Principal) -> bool:
        if not who.may_reach(rel.schema, rel.name, self._config.exposed_schemas[0]):
            return False
        if who.is_service:
            return True
        if rel.schema not in self._config.exposed_schemas:
            return False
        return (
            not self._config.require_rls
            or rel.protected
            or rel.full_name in self._config.rls_exceptions
        )

    def _sight(self, snapshot: Snapshot, reach: Reach, who: Principal) -> Sight:
        tables = {
            name: Visible(rel, grant, tuple(c for c in rel.columns if c in grant.select))
            for name, rel in snapshot.by_name.items()
            if (grant := reach.grants.get(rel.oid)) and self._shown(rel, who)
        }
        for known in set(snapshot.sights.values()):
            if known.tables == tables:
                return known
        return Sight(tables, self._config.exposed_schemas, snapshot.links)

    async def _load(self) -> Snapshot:
        if self._snapshot is not None:
            return self._snapshot
        return await self._loads.ask(self.version, self._load_now)

    async def _load_now(self) -> Snapshot:
        version = self.version
        rows = await self._fetch("load_tables")
        await self._loaded()
        relations = [relation(orjson.loads(row["relation"])) for row in rows]
        snapshot = Snapshot(
            {(r.schema, r.name): r for r in relations},
            by_oid := {r.oid: r for r in relations},
            Links.of(by_oid),
        )
        if version == self.version:  # else it changed while it was being read
            self._snapshot = snapshot
        return snapshot

    async def _reach(self, snapshot: Snapshot, role: str) -> Reach:
        known = _known(snapshot, role)
        if known is not None:
            return known
        question = partial(self._reach_now, snapshot, role)
        return await self._reaches.ask((id(snapshot), role), question)

    async def _reach_now(self, snapshot: Snapshot, role: str) -> Reach:
        known = snapshot.reach.get(role)
        rows = await self._fetch("load_grants", role=role)
        members = await self._fetch("load_memberships", role=role)
        reach = Reach(
            {
                row["oid"]: _grant(row, snapshot.by_oid[row["oid"]])
                for row in rows
                if row["oid"] in snapshot.by_oid  # else it was made after the snapshot
            },
            frozenset(row["role"] for row in members),
            time.monotonic(),
        )
        if known is None or known.grants != reach.grants:
            for key in [k for k in snapshot.sights if k[0] == role]:
                del snapshot.sights[key]
        snapshot.reach[role] = reach
        if len(snapshot.reach) > _ROLES_KEPT:
            snapshot.reach.popitem(last=False)
        return reach


def _known(snapshot: Snapshot, role: str) -> Reach | None:
    """Return what a role reaches, if that was asked lately."""
    known = snapshot.reach.get(role)
    fresh = known is not None and time.monotonic() - known.loaded < _GRANTS_LIVE
    return known if fresh else None


def _grant(row: Record, relation: Relation) -> Grant:
    return Grant(
        select=frozenset(relation.columns if row["select"] is None else row["select"]),
        insert=frozenset(relation.columns if row["insert"] is None else row["insert"]),
        update=frozenset(relation.columns if row["update"] is None else row["update"]),
        delete=row["delete"],
        # Who may not read a row has nothing to compute from it.
        computed=frozenset(row["computed"]) & relation.computed.keys()
        if row["select"] is None
        else frozenset(),
    )
