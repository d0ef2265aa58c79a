"""What a tool is given: the caller, and the doors to the database that take the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import orjson

from fluxbase.db.audit import entry
from fluxbase.errors import Forbidden
from fluxbase.strict_json import in_order
from fluxbase.toolkit.client import DEAF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from fluxbase.config.model import Database as DatabaseConfig
    from fluxbase.db.catalog import Catalog
    from fluxbase.db.database import Database
    from fluxbase.db.relation import Visible
    from fluxbase.db.session import Session
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import ReadRow
    from fluxbase.principal import Principal
    from fluxbase.toolkit.client import Client
    from fluxbase.toolkit.request import Answer, Link, Request


T = TypeVar("T")

_MOST_DEPTH: Final = 4


class Calls(Protocol):
    """Calls tools; `fluxbase.toolkit.runner.Runner` does."""

    async def call(self, request: Request, name: object, arguments: object) -> Answer:
        """Call a tool."""
        ...

    async def run(
        self,
        request: Request,
        action: str,
        arguments: Mapping[str, Any],
        work: Callable[[Context], Awaitable[T]],
    ) -> T:
        """Do something else than a tool, and record it."""
        ...


@dataclass(slots=True, eq=False)
class Context:
    """One call of one tool or resource."""

    who: Principal
    database: Database
    action: str
    arguments: Mapping[str, Any]
    request_id: str
    remote: str | None
    audit_key: bytes
    client: Client = DEAF
    services: Mapping[type, object] = field(default_factory=dict[type, object])
    # Set by the tool for the records of reads and failures.
    target: str | None = None
    rows: int | None = None
    recorded: bool = False  # a write records itself in its own transaction
    dry_run: bool = False
    more: Link | None = None  # where the rest of an answer is to be had
    runner: Calls | None = None
    request: Request | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog; every question to it names the caller."""
        return self.database.catalog

    @property
    def config(self) -> DatabaseConfig:
        """The limits of answers."""
        return self.database.config

    @property
    def max_rows(self) -> int:
        """The most rows one answer to this caller carries."""
        return min(self.config.max_rows, self.who.max_rows or self.config.max_rows)

    def read(self, statement: Statement, *, apart: bool = False) -> Coroutine[Any, Any, ReadRow]:
        """Return the one row of a reading statement run as the caller; see `Database.read`."""
        return self.database.read(self.who, statement, apart=apart)

    async def explain(self, statement: Statement) -> int:
        """Return how many rows Postgres expects of an `EXPLAIN (FORMAT JSON)` run as the caller."""
        return await self.database.explain(self.who, statement)

    def write(
        self, table: Visible, *, dry_run: bool = False, key: str | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """Open a write transaction as the caller; it records the call on `table` by itself."""
        return self._change(table.relation.full_name, table, dry_run=dry_run, key=key)

    def change(
        self, target: str, *, dry_run: bool = False, key: str | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """Open a write transaction on something else than a table of users; records the call."""
        return self._change(target, None, dry_run=dry_run, key=key)

    async def record(self, target: str) -> None:
        """Record a change that is made elsewhere than in a transaction of ours, before it is made.

        Raises:
            Unavailable: it cannot be recorded, so it must not be made.
        """
        self.target, self.recorded = target, True
        note = entry(
            self.action,
            key=self.audit_key,
            who=self.who,
            target=target,
            arguments=self.arguments,
            request_id=self.request_id,
            remote=self.remote,
        )
        row = orjson.dumps([note.as_row("ok")]).decode()
        await self.database.admin("add_audit", entries=row)

    def service(self, kind: type[T]) -> T:
        """Return what a room has for all its calls, such as its connection to a store."""
        found = self.services[kind]
        assert isinstance(found, kind)  # noqa: S101 - they are kept by their type
        return found

    async def call(
        self, name: object, arguments: object, *, who: Principal | None = None
    ) -> Answer:
        """Call another tool as the same caller, or as `who`, within the rights and lists of it.

        Nobody is asked to confirm it: the call that this is a part of was confirmed.

        Raises:
            UnknownTool: the caller has no such tool.
            Forbidden: calls are nested too deeply.
            FluxbaseError: the arguments are wrong, or the tool failed.
        """
        assert self.runner is not None  # noqa: S101 - only what has ended has none
        assert self.request is not None  # noqa: S101
        if self.request.depth >= _MOST_DEPTH:
            raise Forbidden(f"calls are nested more than {_MOST_DEPTH} deep")
        inside = self.request._replace(
            who=who or self.who, depth=self.request.depth + 1, client=DEAF
        )
        return await self.runner.call(inside, name, arguments)

    def _change(
        self, target: str, table: Visible | None, *, dry_run: bool, key: str | None
    ) -> AbstractAsyncContextManager[Session]:
        self.target = target
        self.recorded, self.dry_run = not dry_run, dry_run
        record = entry(
            self.action,
            key=self.audit_key,
            who=self.who,
            target=self.target,
            # The order of names in an object means nothing, so it must not tell calls apart.
            arguments=self.arguments if key is None else in_order(self.arguments),
            request_id=self.request_id,
            remote=self.remote,
        )
        return self.database.write(self.who, record, table, dry_run=dry_run, key=key)
