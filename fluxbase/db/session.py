"""Runs one caller's SQL as that caller; it must not know how the SQL came to be.

A read is one statement in its own read-only transaction. A write is one transaction whose first
words set the caller's role and record the call, so both are kept or both are lost.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, LiteralString

import asyncpg

from fluxbase.db.errors import is_lost, refused_role, translate
from fluxbase.db.pool import RESET, Identity
from fluxbase.db.sql import Params, Sql, concat, join, sql
from fluxbase.errors import FluxbaseError, Forbidden, InternalError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fluxbase.db.audit import Entry
    from fluxbase.db.pool import Held, Pool
    from fluxbase.db.relation import Visible
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import Connection, Record
    from fluxbase.principal import Principal

_ATTEMPTS: Final = 2
_GRACE: Final = 5.0  # seconds a commit that was cancelled may still take
_UNKNOWN: Final = (
    "the database went away while the change was being committed; its outcome is unknown: "
    "read before writing again"
)


async def read(pool: Pool, who: Principal, statement: Statement) -> Record:
    """Return the one row of a reading statement run as the caller: one round trip.

    The statement's first column must be `current_user`; it is compared with the caller's role on
    every call. A connection found dead is replaced and the statement sent again, once.

    Raises:
        FluxbaseError: see `fluxbase.db.errors.translate`.
    """
    identity = Identity.of(who)
    for last in (False, True):
        held = await pool.acquire(identity)
        try:
            row = await held.raw.fetchrow(statement.text, *statement.values)
        except asyncio.CancelledError:
            pool.discard(held)
            raise
        except Exception as error:
            _give_back(pool, held, error)
            if last or not is_lost(error):
                raise translate(error) from error
            continue
        if row is None or row[0] != who.role:
            pool.discard(held)
            raise InternalError
        pool.release(held)
        return row
    raise InternalError  # pragma: no cover - the loop returns or raises


async def read_in_transaction(
    pool: Pool, who: Principal, statement: Statement, *, pooled: bool
) -> Record:
    """Like `read`, with nothing that outlives the transaction.

    For a transaction pooler, and for users with a token: their identity is a setting, which a
    function of a policy could leave changed for their next call.
    """
    begin = _begin_with("BEGIN READ ONLY; ", pooled=pooled)
    try:
        return await _read_once(pool, begin, who, statement)
    except Unavailable as error:
        if error.__cause__ is None or not is_lost(error.__cause__):
            raise
    return await _read_once(pool, begin, who, statement)


async def _read_once(pool: Pool, begin: Sql, who: Principal, statement: Statement) -> Record:
    async with _transaction(pool, begin, who, None, keep=False) as held:
        return await Session(held.raw, who).fetchrow(statement)


def _begin_with(mode: LiteralString, *, pooled: bool) -> Sql:
    # The reset stands inside the transaction, whose mode must be set before anything is asked.
    return concat(sql(mode), sql("") if pooled else RESET)


class Session:
    """The inside of one write transaction."""

    def __init__(self, raw: Connection, who: Principal, table: Visible | None = None) -> None:
        self._raw = raw
        self._table = table
        self.who = who

    async def fetchrow(self, statement: Statement) -> Record:
        """Return the one row of a statement whose first column is `current_user`.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        try:
            row = await self._raw.fetchrow(statement.text, *statement.values)
        except Exception as error:
            raise translate(error, self._table) from error
        if row is None or row[0] != self.who.role:
            raise InternalError
        return row


@asynccontextmanager
async def write(
    pool: Pool,
    who: Principal,
    entry: Entry,
    *,
    table: Visible | None = None,
    dry_run: bool,
    pooled: bool,
    after: Callable[[Principal], Awaitable[None]] | None = None,
) -> AsyncGenerator[Session]:
    """Open a write transaction as the caller, its audit record first; commit when the block ends.

    Args:
        pool: the pool of the caller's login.
        who: the caller; a read-only one is refused.
        entry: what the audit table keeps of the call.
        table: what is written to; errors may name its constraints and columns.
        dry_run: roll back instead of committing.
        pooled: whether a transaction pooler stands between.
        after: awaited once the change is committed.

    Raises:
        Unavailable: the connection was lost. The message says whether the outcome is unknown.
        FluxbaseError: see `fluxbase.db.errors.translate`; nothing was changed.
    """
    if who.read_only:
        raise Forbidden("this key may only read")
    begin = _begin_with("BEGIN READ WRITE; ", pooled=pooled)
    async with _transaction(pool, begin, who, entry, keep=not dry_run, after=after) as held:
        yield Session(held.raw, who, table)


@asynccontextmanager
async def _transaction(
    pool: Pool,
    begin: Sql,
    who: Principal,
    entry: Entry | None,
    *,
    keep: bool,
    after: Callable[[Principal], Awaitable[None]] | None = None,
) -> AsyncGenerator[Held]:
    held = await _begin(pool, begin, who, entry)
    try:
        yield held
    except BaseException as error:
        await _abandon(pool, held, error)
        raise
    if keep:
        await _finish(asyncio.ensure_future(_commit(pool, held, who, after)))
    else:
        await _try_out(pool, held, entry)


async def _try_out(pool: Pool, held: Held, entry: Entry | None) -> None:
    """End a transaction that is not kept; of a dry run, after what a commit would check."""
    try:
        if entry is not None:
            await held.raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except Exception as error:
        raise translate(error) from error
    finally:
        await _abandon(pool, held, None)


async def _begin(pool: Pool, begin: Sql, who: Principal, entry: Entry | None) -> Held:
    text, values = _enter(who, entry)
    for attempt in range(1, _ATTEMPTS + 1):
        held = await pool.acquire_bare()
        try:
            await held.raw.execute(begin)
            _expect(who, await held.raw.fetchrow(text, *values))
        except BaseException as error:
            pool.discard(held)
            if not isinstance(error, Exception):
                raise
            # Nothing of the caller's has been sent yet, so a dead connection may be replaced.
            if attempt == _ATTEMPTS or not is_lost(error):
                raise refused_role(error) from error
        else:
            return held
    raise InternalError  # pragma: no cover - the loop returns or raises


def _enter(who: Principal, entry: Entry | None) -> tuple[Sql, list[object]]:
    """Return the statement that records the call and then becomes the caller, in this order."""
    params = Params()
    parts: list[Sql] = []
    if entry is not None:
        fields = (
            entry.request_id,
            entry.kind,
            entry.principal,
            entry.action,
            entry.target,
            entry.arguments,
            entry.arguments_mac,
            entry.remote,
        )
        values = join(", ", [params.add(field) for field in fields])
        parts.append(concat(sql("platform.write_audit("), values, sql(")")))
    for name, value in (("request.jwt.claims", who.claims), *who.settings):
        name_, value_ = params.add(name), params.add(value)
        parts.append(concat(sql("set_config("), name_, sql(", "), value_, sql(", true)")))
    role = params.add(who.role)
    parts.append(concat(sql("set_config('role', "), role, sql(", true) AS role")))
    return concat(sql("SELECT "), join(", ", parts)), params.values


def _expect(who: Principal, row: Record | None) -> None:
    if row is None or row["role"] != who.role:
        raise InternalError


async def _finish(commit: asyncio.Task[None]) -> None:
    """Await a commit, cancelled or not: what was sent cannot be taken back, only be known."""
    seconds = None
    while not commit.done():
        try:
            await asyncio.wait((commit,), timeout=seconds)
            commit.cancel()
        except asyncio.CancelledError:
            seconds = _GRACE
    if not commit.cancelled():  # else it was committed, and only `after` took too long
        commit.result()


async def _commit(
    pool: Pool,
    held: Held,
    who: Principal,
    after: Callable[[Principal], Awaitable[None]] | None,
) -> None:
    try:
        outcome = await held.raw.execute("COMMIT")
    except BaseException as error:
        pool.discard(held)
        if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
            raise translate(error) from error
        raise Unavailable(_UNKNOWN) from error
    pool.release(held)
    if outcome != "COMMIT":  # a failed transaction is rolled back without an error
        raise InternalError
    if after is not None:
        await after(who)


async def _abandon(pool: Pool, held: Held, error: BaseException | None) -> None:
    known = error is None or isinstance(error, FluxbaseError)
    if not known or held.raw.is_closed():
        pool.discard(held)
        return
    try:
        await held.raw.execute("ROLLBACK")
    except BaseException as second:
        pool.discard(held)
        if not isinstance(second, Exception):
            raise
        return
    pool.release(held)


def _give_back(pool: Pool, held: Held, error: Exception) -> None:
    # Only what Postgres itself reports leaves the connection in a known state.
    if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
        pool.release(held)
    else:
        pool.discard(held)
