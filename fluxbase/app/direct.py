"""Measures the SQL of one read without the server around it; it must not serve anything."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from fluxbase.app.rooms import toolbox
from fluxbase.app.verifier import token_verifier
from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import find
from fluxbase.db.audit_log import AuditLog
from fluxbase.toolkit.request import Request
from fluxbase.toolkit.runner import Runner

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from fluxbase.db.database import Database
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import ReadRow
    from fluxbase.principal import Principal


async def measure(
    backend: Backend,
    header: tuple[bytes, bytes],
    arguments: dict[str, Any],
    connections: int,
    seconds: float,
) -> list[float]:
    """Return how long each of many reads took: the SQL of `query_table`, as the caller.

    Raises:
        FluxbaseError: the key is not valid, or the read fails.
    """
    who = await _caller(backend, header)
    statement = await _statement(backend, who, arguments)
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def read() -> None:
        while (began := time.perf_counter()) < end:
            await backend.database.read(who, statement)
            taken.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(read())
    return taken


async def _caller(backend: Backend, header: tuple[bytes, bytes]) -> Principal:
    auth = backend.config.auth
    authenticator = Authenticator(
        backend.database,
        backend.peppers,
        live=auth.key_cache,
        jwt=auth.jwt,
        verifier=token_verifier(backend.config),
    )
    return await authenticator.authenticate(find([header]), "127.0.0.1")


async def _statement(backend: Backend, who: Principal, arguments: dict[str, Any]) -> Statement:
    """Return what the tool would ask Postgres, by letting it ask once."""
    noted = _Noted(backend.database)
    audit = AuditLog(
        backend.database,
        key=backend.peppers.derive("audit"),
        reads=False,
        retention=backend.config.audit.retention,
        undo_retention=backend.config.audit.undo_retention,
        on_lost=lambda: None,
    )
    runner = Runner(toolbox(backend.config), cast("Database", noted), audit)
    await runner.call(Request(who, "bench", None), "query_table", arguments)
    return noted.statements[-1]


class _Noted:
    """A database that remembers what was read from it."""

    def __init__(self, database: Database) -> None:
        self.statements: list[Statement] = []
        self._database = database

    async def read(self, who: Principal, statement: Statement, *, apart: bool = False) -> ReadRow:
        self.statements.append(statement)
        return await self._database.read(who, statement, apart=apart)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
