"""Runs one caller's reading statement as that caller; it must not know how the SQL came to be."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import asyncpg

from fluxbase.db.errors import is_lost, translate
from fluxbase.db.held import Identity
from fluxbase.errors import InternalError

if TYPE_CHECKING:
    from fluxbase.db.held import Held
    from fluxbase.db.pool import Pool
    from fluxbase.db.sql import Statement
    from fluxbase.db.types import ReadRow, Record
    from fluxbase.errors import FluxbaseError
    from fluxbase.principal import Principal

log = logging.getLogger(__name__)


async def read(pool: Pool, who: Principal, statement: Statement) -> ReadRow:
    """Return the one row of a reading statement run as the caller: one round trip.

    The statement is its own read-only transaction, so it may be sent twice. Its first column must
    be `current_user`; it is compared with the caller's role on every call. A read goes with others
    of the moment where it can, else alone; then a connection found dead is replaced, once.

    Raises:
        FluxbaseError: see `fluxbase.db.errors.translate`.
    """
    identity, began = Identity.of(who), time.monotonic()
    shared = pool.batcher.join(identity, statement)
    if shared is not None:
        try:
            row = await shared
        except asyncpg.PostgresError as error:
            raise _told(error, began) from error
        if row is not None:
            return row
    return await _read_alone(pool, who, identity, statement)


async def _read_alone(
    pool: Pool, who: Principal, identity: Identity, statement: Statement
) -> Record:
    for last in (False, True):
        held = pool.take(identity) or await pool.acquire(identity)
        began = time.monotonic()
        try:
            row = await held.raw.fetchrow(statement.text, *statement.values)
        except asyncio.CancelledError:
            pool.discard(held)
            raise
        except Exception as error:
            _give_back(pool, held, error)
            if last or not is_lost(error):
                raise _told(error, began) from error
            continue
        if row is None or row[0] != who.role:
            pool.discard(held)
            raise InternalError
        pool.release(held)
        pool.batcher.note(statement.text, time.monotonic() - began)
        return row
    raise InternalError  # pragma: no cover - the loop returns or raises


def _told(error: Exception, began: float) -> FluxbaseError:
    if isinstance(error, asyncpg.QueryCanceledError):
        seconds = time.monotonic() - began
        log.warning("a statement ended after %.1f s: %s", seconds, error)
    return translate(error)


def _give_back(pool: Pool, held: Held, error: Exception) -> None:
    # Only what Postgres itself reports leaves the connection in a known state.
    if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
        pool.release(held)
    else:
        pool.discard(held)
