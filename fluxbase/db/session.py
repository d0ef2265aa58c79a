"""Runs one caller's SQL in a transaction that sets its role; must not know how the SQL came to be.

The first words of a write set the caller's role and record the call, so both are kept or both are
lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString

import asyncpg
import orjson

from fluxbase.db.errors import is_lost, refused_role, translate
from fluxbase.db.held import RESET
from fluxbase.db.sql import Params, Sql, concat, hex_text, join, number, sql
from fluxbase.errors import Conflict, FluxbaseError, Forbidden, InternalError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fluxbase.db.audit import Entry
    from fluxbase.db.held import Held
    from fluxbase.db.pool import Pool
    from fluxbase.db.relation import Visible
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import Connection, Record
    from fluxbase.principal import Principal

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 2
_GRACE: Final = 5.0  # seconds a commit that was cancelled may still take
_UNKNOWN: Final = (
    "the database went away while the change was being committed; its outcome is unknown: "
    "read before writing again"
)


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


async def explain(pool: Pool, who: Principal, statement: Statement, *, pooled: bool) -> int:
    """Return the number of rows that the plan of a statement expects; it is run as the caller.

    Raises:
        FluxbaseError: see `fluxbase.db.errors.translate`.
    """
    begin = _begin_with("BEGIN READ ONLY; ", pooled=pooled)
    async with _transaction(pool, begin, who) as held:
        try:
            text = await held.raw.fetchval(statement.text, *statement.values)
        except Exception as error:
            raise translate(error) from error
    return int(orjson.loads(text)[0]["Plan"]["Plan Rows"])


async def _read_once(pool: Pool, begin: Sql, who: Principal, statement: Statement) -> Record:
    async with _transaction(pool, begin, who) as held:
        return await Session(held.raw, who).fetchrow(statement)


def _begin_with(mode: LiteralString, *, pooled: bool) -> Sql:
    # The reset stands inside the transaction, whose mode must be set before anything is asked.
    return concat(sql(mode), sql("") if pooled else RESET)


@dataclass(slots=True)
class Trace:
    """What a write leaves behind: its rows before, the keys of new ones, and its answer."""

    rows: int
    before: str | None = None
    inserted: str | None = None
    complete: bool = True
    answer: str | None = None


class Session:
    """The inside of one write transaction.

    `replay` is the answer of the first call with the same idempotency key, when there was one.
    `trace` is what the block leaves behind with its commit.
    """

    def __init__(
        self,
        raw: Connection,
        who: Principal,
        table: Visible | None = None,
        replay: str | None = None,
    ) -> None:
        self._raw = raw
        self._table = table
        self.who = who
        self.replay = replay
        self.trace: Trace | None = None

    @property
    def version(self) -> int:
        """The major version of Postgres."""
        return self._raw.get_server_version().major

    def check_replay(self) -> None:
        """See that the idempotency key is new, or was used for this very call.

        Raises:
            Conflict: it was used for another one.
        """
        if self.replay == "":
            raise Conflict("idempotency_key: this key was used for another call")

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
    key: str | None = None,
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
        key: the caller's idempotency key.
        after: awaited once the change is committed.

    Raises:
        Conflict: the idempotency key was used for another call.
        Unavailable: the connection was lost. The message says whether the outcome is unknown.
        FluxbaseError: see `fluxbase.db.errors.translate`; nothing was changed.
    """
    if who.read_only:
        raise Forbidden("this key may only read")
    begin = _begin_with("BEGIN READ WRITE; ", pooled=pooled)
    held, begun = await _begin(pool, begin, who, entry, key)
    session = Session(held.raw, who, table, _replay(begun))
    try:
        session.check_replay()
        yield session
    except BaseException as error:
        await _abandon(pool, held, error)
        raise
    if dry_run:
        await _try_out(pool, held, entry, table)
        return
    last = _last_words(begun, session.trace, who, key)
    await _finish(asyncio.ensure_future(_commit(pool, held, who, last, table, after)))


@asynccontextmanager
async def _transaction(pool: Pool, begin: Sql, who: Principal) -> AsyncGenerator[Held]:
    held, _ = await _begin(pool, begin, who)
    try:
        yield held
    except BaseException as error:
        await _abandon(pool, held, error)
        raise
    await _try_out(pool, held, None)


async def _try_out(
    pool: Pool, held: Held, entry: Entry | None, table: Visible | None = None
) -> None:
    """End a transaction that is not kept; of a dry run, after what a commit would check."""
    try:
        if entry is not None:
            await held.raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except Exception as error:
        raise translate(error, table) from error
    finally:
        await _abandon(pool, held, None)


async def _begin(
    pool: Pool,
    begin: Sql,
    who: Principal,
    entry: Entry | None = None,
    key: str | None = None,
) -> tuple[Held, Record]:
    text, values = _enter(who, entry, key)
    lost = 0
    while True:
        held, clean = await pool.acquire_bare(), False
        try:
            await held.raw.execute(begin)
            clean = True
            begun = _expect(who, await held.raw.fetchrow(text, *values))
        except BaseException as error:
            pool.discard(held)
            if not isinstance(error, Exception):
                raise
            if not clean and held.is_spoiled(error):
                continue
            # Nothing of the caller's has been sent yet, so a dead connection may be replaced.
            lost += 1
            if lost == _ATTEMPTS or not is_lost(error):
                raise refused_role(error) from error
        else:
            return held, begun


def _enter(who: Principal, entry: Entry | None, key: str | None) -> tuple[Sql, list[object]]:
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
        parts.append(concat(sql("platform.write_audit("), values, sql(") AS audit_id")))
        if key is not None:
            fields = (who.holder, key, entry.action, entry.arguments_mac)
            values = join(", ", [params.add(field) for field in fields])
            parts.append(concat(sql("platform.claim_key("), values, sql(") AS claimed")))
    for name, value in (("request.jwt.claims", who.claims), *who.settings):
        name_, value_ = params.add(name), params.add(value)
        parts.append(concat(sql("set_config("), name_, sql(", "), value_, sql(", true)")))
    role = params.add(who.role)
    parts.append(concat(sql("set_config('role', "), role, sql(", true) AS role")))
    return concat(sql("SELECT "), join(", ", parts)), params.values


def _expect(who: Principal, row: Record | None) -> Record:
    if row is None or row["role"] != who.role:
        raise InternalError
    return row


def _replay(begun: Record) -> str | None:
    claimed: str | None = begun.get("claimed")
    return claimed


def _last_words(begun: Record, trace: Trace | None, who: Principal, key: str | None) -> Sql:
    """Return the message that ends a write: what it leaves behind, and the commit.

    One message of several statements, which costs one trip and cannot have parameters.
    """
    if trace is None:
        return sql("COMMIT")
    fields = (
        number(begun["audit_id"]),
        number(trace.rows),
        concat(hex_text(trace.before), sql("::pg_catalog.json")),
        concat(hex_text(trace.inserted), sql("::pg_catalog.json")),
        sql("true") if trace.complete else sql("false"),
        hex_text(who.holder),
        hex_text(key),
        hex_text(trace.answer),
    )
    return concat(
        # What was deferred to the end still runs as the caller.
        sql("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL ROLE NONE; "),
        sql("SELECT platform.finish_write("),
        join(", ", fields),
        sql("); COMMIT"),
    )


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
    last: Sql,
    table: Visible | None,
    after: Callable[[Principal], Awaitable[None]] | None,
) -> None:
    try:
        outcome = await held.raw.execute(last)
    except BaseException as error:
        pool.discard(held)
        if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
            raise translate(error, table) from error
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
