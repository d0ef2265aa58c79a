"""Lends connections of the owner's login; it must not know what is asked on them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from fluxbase.db.errors import CONNECTION_ERRORS, is_lost, translate
from fluxbase.errors import FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.db.held import Held
    from fluxbase.db.pool import Pool
    from fluxbase.db.types import Connection


@asynccontextmanager
async def as_owner(pool: Pool) -> AsyncGenerator[Connection]:
    """Lend a connection; one that failed in a way that leaves its state unknown is closed.

    Raises:
        FluxbaseError: for what the driver raised inside; see `fluxbase.db.errors.translate`.
    """
    held = await pool.acquire_bare()
    try:
        yield held.raw
    except BaseException as error:
        _end(pool, held, error)
        raise
    pool.release(held)


@asynccontextmanager
async def tried(conn: Connection, *, dry_run: bool) -> AsyncGenerator[None]:
    """Run the block in a transaction that is kept, or in a dry run taken back at its end."""
    transaction = conn.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())


def _end(pool: Pool, held: Held, error: BaseException) -> None:
    known = isinstance(error, asyncpg.PostgresError) and not is_lost(error)
    if known or isinstance(error, FluxbaseError):
        pool.release(held)
    else:
        pool.discard(held)
    if isinstance(error, FluxbaseError):
        return
    if isinstance(error, TimeoutError):
        raise Unavailable("the database did not answer in time") from error
    if isinstance(error, (*CONNECTION_ERRORS, asyncpg.PostgresError)):
        raise translate(error) from error
