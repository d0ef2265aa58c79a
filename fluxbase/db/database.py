"""The database as the rest of the program sees it: read, write, administer, catalog, readiness.

It must not know which tool asks. `read` and `write` are the only doors to user data, and both
take the caller.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbase.db import reads, session
from fluxbase.db.alone import Alone
from fluxbase.db.alter import alter, reshape
from fluxbase.db.catalog import Catalog, Fetch
from fluxbase.db.dsn import same_login
from fluxbase.db.errors import is_lost
from fluxbase.db.owner import as_owner
from fluxbase.db.pool import Pool
from fluxbase.db.prepare import ADMIN_SETTINGS, Logins
from fluxbase.db.pulse import Pulse
from fluxbase.db.queries import queries
from fluxbase.db.replicas import Replica, Replicas
from fluxbase.db.statements import statements
from fluxbase.db.works import AT_ONCE, Works
from fluxbase.errors import DeadlineExceeded, FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from fluxbase.config.model import Database as DatabaseConfig
    from fluxbase.db.alter import Note
    from fluxbase.db.audit import Entry
    from fluxbase.db.queries import Query
    from fluxbase.db.relation import Visible
    from fluxbase.db.session import Session
    from fluxbase.db.sql import Sql, Statement
    from fluxbase.db.types import Connection, ReadRow, Record
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

    def __init__(
        self,
        config: DatabaseConfig,
        logins: Logins,
        derive: Callable[[str], str] | None = None,
    ) -> None:
        self.config = config
        self.logins = logins
        self.pooled = config.pooler == "transaction"
        settings = session_settings(config)
        self._client = self._pool("client", logins.client, config.client_pool_size, settings)
        self._service = self._pool("service", logins.service, config.service_pool_size, settings)
        self._admin = self._pool(
            "admin", logins.admin, config.admin_pool_size, ADMIN_SETTINGS, direct=True
        )
        self._background = self._pool(
            "background", logins.admin, AT_ONCE, ADMIN_SETTINGS, direct=True
        )
        self._replicas = Replicas(
            [
                self._replica(n, same_login(url.get_secret_value(), logins.client), settings)
                for n, url in enumerate(config.replica_urls)
            ]
        )
        self._pulse = Pulse(logins.admin, "ready", self._heard, every=0.5)
        self._beating: asyncio.Task[None] | None = None
        self.catalog = Catalog(config, self.admin, loaded=self._catalog_loaded)
        self.works = Works(self._background, self.catalog.forget)
        # Directly, also where a pooler stands before the other logins.
        direct = session_settings(config.model_copy(update={"pooler": "none"}))
        service = same_login(logins.admin, logins.service)
        self.alone = Alone(self.admin, logins.admin, service, derive, direct)

    async def open(self) -> None:
        """Begin to watch over the primary; connections open on demand."""
        await self._pulse.beat()
        self._beating = asyncio.create_task(self._pulse.run())

    async def close(self) -> None:
        """Close every connection; those in use are closed when they come back."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))
        await self.alone.close()
        await asyncio.gather(*(pool.close() for pool in (*self._own, self._replicas)))

    def read(
        self, who: Principal, statement: Statement, *, apart: bool = False
    ) -> Coroutine[Any, Any, ReadRow]:
        """Return the one row of a reading statement run as the caller.

        With `apart` nothing that it leaves in its session is there in the caller's next one: for
        statements that run what others wrote.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        if self._replicas:
            return self._read_near(who, statement, apart)
        return self._read(self._pool_of(who), who, statement, apart)

    async def _read_near(self, who: Principal, statement: Statement, apart: bool) -> ReadRow:
        replica = self._replicas.choose(who)
        if replica is not None:
            try:
                return await self._read(replica.pool, who, statement, apart)
            except DeadlineExceeded:
                raise
            except FluxbaseError as error:
                # Whatever it is, the primary has the last word: a replica may be gone, or may not
                # know a role, a table or a right yet.
                if isinstance(error, Unavailable):
                    replica.heard = 0.0
        return await self._read(self._pool_of(who), who, statement, apart)

    async def explain(self, who: Principal, statement: Statement) -> int:
        """Return how many rows Postgres expects of an `EXPLAIN (FORMAT JSON)` run as the caller.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        return await session.explain(self._pool_of(who), who, statement, pooled=self.pooled)

    def write(
        self,
        who: Principal,
        entry: Entry,
        table: Visible | None = None,
        *,
        dry_run: bool = False,
        key: str | None = None,
    ) -> AbstractAsyncContextManager[Session]:
        """Open a write transaction as the caller; see `fluxbase.db.session.write`."""
        if self._replicas and not dry_run:
            return self._write_tracked(who, entry, table, key)
        pool = self._pool_of(who)
        return session.write(
            pool, who, entry, table=table, dry_run=dry_run, pooled=self.pooled, key=key
        )

    async def admin(self, name: str, /, **arguments: object) -> list[Record]:
        """Return the rows of a named query run as the owner; nothing of a caller's is ever SQL.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        query = queries()[name]
        values = query.bind(arguments)
        try:
            return await self._ask(query, values)
        except Unavailable as error:
            # A connection that died since it was used last; asking anew is harmless for a read.
            if not (query.reads and error.__cause__ and is_lost(error.__cause__)):
                raise
        return await self._ask(query, values)

    async def statements(self, schema: str, limit: int) -> list[Record]:
        """Return what pg_stat_statements, which is in `schema`, counts of this database.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        async with self._owner() as conn:
            return await statements(conn, schema, limit, seconds=_ADMIN_TIMEOUT)

    async def alter(self, statements: Sequence[Sql], note: Note, *, dry_run: bool) -> list[str]:
        """Change the schema as the owner; see `fluxbase.db.alter.alter`."""
        wait = self.config.lock_timeout
        async with self._owner() as conn:
            locks = await alter(conn, statements, note, dry_run=dry_run, lock_timeout=wait)
        self.catalog.forget()  # whoever changed it sees the change with the next call
        return locks

    async def reshape(self, name: str, /, *, dry_run: bool, **arguments: object) -> list[Record]:
        """Change the schema by a named query; see `fluxbase.db.alter.reshape`."""
        query, wait = queries()[name], self.config.lock_timeout
        values = query.bind(arguments)
        async with self._owner() as conn:
            rows = await reshape(conn, query, values, dry_run=dry_run, lock_timeout=wait)
        self.catalog.forget()
        return rows

    @asynccontextmanager
    async def administer(self) -> AsyncGenerator[Fetch]:
        """Open a transaction as the owner and yield what runs named queries in it.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`; nothing was changed.
        """

        async def run(name: str, /, **arguments: object) -> list[Record]:
            query = queries()[name]
            return await conn.fetch(query.sql, *query.bind(arguments), timeout=_ADMIN_TIMEOUT)

        async with self._owner() as conn, conn.transaction():
            yield run

    async def follow_replicas(self) -> None:
        """Keep asking the replicas how far they are, until cancelled."""
        await self._replicas.follow()

    @property
    def _own(self) -> tuple[Pool, ...]:
        return self._client, self._service, self._admin, self._background

    def states(self) -> list[PoolState]:
        """Return how busy each pool is."""
        pools = [*self._own, *self._replicas.pools]
        return [PoolState(p.name, p.size, p.in_use, p.waiting) for p in pools]

    async def ready(self) -> float:
        """Return how long the primary took to answer, in seconds.

        Raises:
            Unavailable: it does not answer.
        """
        failure = self._pulse.failure
        if failure is not None:
            raise Unavailable(failure.message)
        if self._pulse.row is None or not self._pulse.row["primary"]:
            raise Unavailable("the database is a standby, which takes no writes")
        return self._pulse.seconds

    def _owner(self) -> AbstractAsyncContextManager[Connection]:
        return as_owner(self._admin)

    async def _ask(self, query: Query, values: list[object]) -> list[Record]:
        async with self._owner() as conn:
            return await conn.fetch(query.sql, *values, timeout=_ADMIN_TIMEOUT)

    def _read(
        self, pool: Pool, who: Principal, statement: Statement, apart: bool
    ) -> Coroutine[Any, Any, ReadRow]:
        if apart or self.pooled or who.kind == "user":
            return session.read_in_transaction(pool, who, statement, pooled=self.pooled)
        return reads.read(pool, who, statement)

    def _heard(self, silent: bool) -> None:
        for pool in self._own:
            pool.silence(silent=silent)
            if silent:
                pool.cut()

    @asynccontextmanager
    async def _write_tracked(
        self, who: Principal, entry: Entry, table: Visible | None, key: str | None
    ) -> AsyncGenerator[Session]:
        pool, after = self._pool_of(who), self._remember_position
        try:
            async with session.write(
                pool,
                who,
                entry,
                table=table,
                dry_run=False,
                pooled=self.pooled,
                key=key,
                after=after,
            ) as inside:
                yield inside
        except Unavailable:
            self._replicas.lost_track(who)
            raise

    async def _remember_position(self, who: Principal) -> None:
        # The change is committed by now: not to know how far it reaches must not fail it.
        try:
            rows = await self.admin("write_position")
        except BaseException as error:
            self._replicas.lost_track(who)
            if not isinstance(error, FluxbaseError):
                raise
            return
        self._replicas.wrote(who, rows[0]["position"])

    async def _catalog_loaded(self) -> None:
        if self._replicas:
            rows = await self.admin("write_position")
            self._replicas.catalog_loaded(rows[0]["position"])

    def _pool_of(self, who: Principal) -> Pool:
        return self._service if who.is_service else self._client

    def _replica(self, number: int, url: str, settings: Mapping[str, str]) -> Replica:
        name = f"replica {number}"
        return Replica(url, self._pool(name, url, self.config.client_pool_size, settings))

    def _pool(
        self,
        name: str,
        url: str,
        size: int,
        settings: Mapping[str, str],
        *,
        direct: bool = False,
    ) -> Pool:
        return Pool(
            url,
            name=name,
            size=size,
            settings=settings,
            acquire_timeout=self.config.acquire_timeout,
            connect_timeout=self.config.connect_timeout,
            max_age=self.config.max_connection_age,
            prepared=direct or not self.pooled,
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
        # An index of vectors looks on until an answer is full, however much of what it finds is
        # hidden by row-level security or a filter; pgvector 0.8.
        "hnsw.iterative_scan": "strict_order",
        "hnsw.ef_search": "100",
        "hnsw.max_scan_tuples": "50000",
        "ivfflat.iterative_scan": "relaxed_order",
        "jit": "off",
    }
