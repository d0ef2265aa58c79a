"""Tables that one test file makes for itself; it must not know what is asked of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from tests.world import Caller


@asynccontextmanager
async def tables(owner: Connection[Record], made: str, *names: str) -> AsyncGenerator[None]:
    """Make tables for the time of the block."""
    await owner.execute(made)
    try:
        yield
    finally:
        for name in names:
            await owner.execute(f"DROP TABLE IF EXISTS public.{name} CASCADE")


def open_to_all(*names: str) -> str:
    """Return SQL that lets every authenticated caller do everything with tables."""
    return "".join(
        f"ALTER TABLE public.{name} ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY everything ON public.{name} USING (true) WITH CHECK (true);"
        f"GRANT ALL ON public.{name} TO authenticated;"
        for name in names
    )


async def until_known(caller: Caller, table: str) -> None:
    """Wait until the server has heard of a table."""
    async with asyncio.timeout(10):
        while not await _known(caller, table):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def _known(caller: Caller, table: str) -> bool:
    found = (await caller.call("list_tables"))["tables"]
    return any(entry["name"] == table for entry in found)


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    """Return how a call is refused."""
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value


async def traced(owner: Connection[Record]) -> Record:
    """Return the audit row of the last write, with what was kept to take it back.

    By its time: that of an earlier dry run is written later, in a batch.
    """
    found = await owner.fetchrow(
        "SELECT a.id, a.action, a.target, a.outcome, a.rows, a.principal, u.audit_id, "
        "u.before::text, u.inserted::text, u.complete, u.target AS undo_target, "
        "u.action AS undo_action FROM platform.audit a "
        "LEFT JOIN platform.undo u ON u.audit_id = a.id "
        "WHERE a.action IN ('insert_record', 'update_record', 'delete_record') "
        "ORDER BY a.at DESC, a.id DESC LIMIT 1"
    )
    assert found is not None
    return found


async def until_waiting(owner: Connection[Record]) -> None:
    """Wait until a connection waits for a lock that another holds."""
    async with asyncio.timeout(10):
        while not await owner.fetchval(  # noqa: ASYNC110 - nothing tells
            "SELECT count(*) FROM pg_locks WHERE NOT granted"
        ):
            await asyncio.sleep(0.01)
