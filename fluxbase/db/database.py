"""The database as the rest of the program sees it: read, write, administer, catalog, readiness.

It must not know which tool asks. `read` and `write` are the only doors to user data, and both
take the caller.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.db import session
from fluxbase.db.catalog import Catalog, Fetch
from fluxbase.db.errors import CONNECTION_ERRORS, translate
from fluxbase.db.pool import Pool
from fluxbase.db.prepare import ADMIN_SETTINGS, Logins
from fluxbase.db.queries import queries
from fluxbase.db.replicas import Replicas
from fluxbase.errors import FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from pydantic import SecretStr

    from fluxbase.config.model import Database as DatabaseConfig
    from fluxbase.db.audit import Entry
    from fluxbase.db.session import Session
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import Record
    from fluxbase.principal import Principal

_ADMIN_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class PoolState:
    """How busy a pool is."""

    name: str
    size: int
    in_use: int
    waiting: int


class Database:
    """Three logins, their pools, and the catalog."""

    def __init__(self, config: DatabaseConfig, logins: Logins) -> None:
        self.config = config
        self.logins = logins
        self.pooled = config.pooler == "transaction"
        settings = session_settings(config)
        client_url = _or(config.client_url, logins.client)
        service_url = _or(config.service_url, logins.service)
        self._client = self._pool("client", client_url, config.client_pool_size, settings)
        self._service = self._pool("service", service_url, config.service_pool_size, settings)
        self._replicas = Replicas(
            [
                self._pool(
                    f"replica {n}", url.get_secret_value(), config.client_pool_size, settings
                )
                for n, url in enumerate(config.replica_urls)
            ]
        )
        self._admin: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            logins.admin,
            min_size=0,
            max_size=config.admin_pool_size,
            timeout=config.connect_timeout,
            command_timeout=_ADMIN_TIMEOUT,
            server_settings=dict(ADMIN_SETTINGS),
            max_inactive_connection_lifetime=300,
        )
        self.catalog = Catalog(config, self.admin)

    async def open(self) -> None:
        """Open what must be open before the first call; client connections open on demand."""
        await self._admin

    async def close(self) -> None:
        """Close every connection, waiting a little for what is in use."""
        await asyncio.gather(self._client.close(), self._service.close(), self._replicas.close())
        try:
            async with asyncio.timeout(5):
                await self._admin.close()
        except TimeoutError:
            self._admin.terminate()

    async def read(self, who: Principal, statement: Statement) -> Record:
        """Return the one row of a reading statement run as the caller.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        pool = self._replicas.choose(who) or self._pool_of(who)
        if self.pooled:
            return await session.read_in_transaction(pool, who, statement)
        return await session.read(pool, who, statement)

    def write(
        self, who: Principal, entry: Entry, *, dry_run: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """Open a write transaction as the caller; see `fluxbase.db.session.write`."""
        after = None if dry_run or not self._replicas else self._remember_position
        return session.write(
            self._pool_of(who), who, entry, dry_run=dry_run, pooled=self.pooled, after=after
        )

    async def admin(self, name: str, /, **arguments: object) -> list[Record]:
        """Return the rows of a named query run as the owner; nothing of a caller's is ever SQL.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        query = queries()[name]
        values = query.bind(arguments)
        try:
            async with self._admin.acquire(timeout=self.config.acquire_timeout) as conn:
                return await conn.fetch(query.sql, *values)
        except TimeoutError:
            raise Unavailable("the database did not answer in time") from None
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            raise translate(error) from error

    @asynccontextmanager
    async def administer(self) -> AsyncGenerator[Fetch]:
        """Open a transaction as the owner and yield what runs named queries in it.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`; nothing was changed.
        """

        async def run(name: str, /, **arguments: object) -> list[Record]:
            query = queries()[name]
            return await conn.fetch(query.sql, *query.bind(arguments))

        try:
            async with (
                self._admin.acquire(timeout=self.config.acquire_timeout) as conn,
                conn.transaction(),
            ):
                yield run
        except FluxbaseError:
            raise
        except TimeoutError:
            raise Unavailable("the database did not answer in time") from None
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            raise translate(error) from error

    async def follow_replicas(self) -> None:
        """Keep asking the replicas how far they are, until cancelled."""
        await self._replicas.follow()

    def states(self) -> list[PoolState]:
        """Return how busy each pool is."""
        pools = [self._client, self._service, *self._replicas.pools]
        return [PoolState(p.name, p.size, p.in_use, p.waiting) for p in pools]

    async def ready(self) -> float:
        """Return how long the primary took to answer, in seconds.

        Raises:
            Unavailable: it does not answer.
        """
        started = time.perf_counter()
        await self.admin("ready")
        return time.perf_counter() - started

    async def _remember_position(self, who: Principal) -> None:
        rows = await self.admin("write_position")
        self._replicas.wrote(who, rows[0]["position"])

    def _pool_of(self, who: Principal) -> Pool:
        return self._service if who.is_service else self._client

    def _pool(self, name: str, url: str, size: int, settings: dict[str, str]) -> Pool:
        return Pool(
            url,
            name=name,
            size=size,
            settings=settings,
            acquire_timeout=self.config.acquire_timeout,
            connect_timeout=self.config.connect_timeout,
            max_age=self.config.max_connection_age,
            prepared=not self.pooled,
        )


def session_settings(config: DatabaseConfig) -> dict[str, str]:
    """Return the settings every client connection starts with, which `RESET ALL` comes back to.

    A pooler refuses settings at connect, so there the logins carry them (`ALTER ROLE … SET`).
    """
    if config.pooler == "transaction":
        return {}
    path = ", ".join(f'"{schema}"' for schema in (*config.exposed_schemas, "extensions"))
    return {
        "application_name": "fluxbase",
        "default_transaction_read_only": "on",
        "search_path": f"{path}, pg_temp",
        "statement_timeout": str(round(config.statement_timeout * 1000)),
        "lock_timeout": str(round(config.lock_timeout * 1000)),
        "idle_in_transaction_session_timeout": str(round(config.statement_timeout * 2000)),
        "client_connection_check_interval": "1000",
        "timezone": "UTC",
        "intervalstyle": "iso_8601",
        "jit": "off",
    }


def _or(secret: SecretStr | None, default: str) -> str:
    return secret.get_secret_value() if secret else default
