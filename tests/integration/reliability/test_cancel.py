"""Who leaves, or takes too long, is stopped inside Postgres, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.http import exchange
from tests.integration.reliability.stand import Stand, eventually, listening
from tests.integration.reliability.test_hang import call, running
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def gone(stand: Stand, words: str) -> float:
    async def ask() -> bool:
        return not await running(stand, words)

    return await eventually(ask, "the statement is gone", 5)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("query_table", {"table": "tarpit"}, "tarpit"),
        ("insert_record", {"table": "sticky", "data": {"n": 1}}, "sticky"),
    ],
)
async def test_a_client_that_leaves_stops_its_statement_within_a_second(
    calm: Stand, tool: str, arguments: dict[str, Any], words: str
) -> None:
    async with calm.caller() as one:
        task = asyncio.create_task(call(one, tool, **arguments))
        await eventually(lambda: running(calm, words), "the statement runs")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert await gone(calm, words) < 1
    await calm.settle()
    async with calm.owner() as conn:
        assert await conn.fetchval("SELECT count(*) FROM public.sticky") == 0
        left = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert await conn.fetchval(left) == 0
    async with calm.caller("user2") as two:
        assert (await two.call("query_table", table="ledger"))["rows"] == []


async def test_a_statement_that_ends_soon_after_its_client_left_keeps_its_connection(
    calm: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_MOMENT", 5.0)  # however slow the machine is

    async def backends() -> set[int]:
        found = await conn.fetch("SELECT pid FROM pg_stat_activity WHERE usename LIKE '%_client'")
        return {row["pid"] for row in found}

    async with calm.owner() as conn, calm.caller() as one:
        await one.call("query_table", table="ledger")
        before = await backends()
        async with conn.transaction():
            await conn.execute("LOCK TABLE public.ledger")
            task = asyncio.create_task(call(one, "query_table", table="ledger"))
            await eventually(lambda: running(calm, "ledger"), "the statement waits")
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.3)  # the server knows by now
        await calm.settle()
        assert await backends() == before


@asynccontextmanager
async def hasty(calm: Stand, seconds: float) -> AsyncGenerator[Caller]:
    """A caller of a second server on the same database, whose requests have little time."""
    server = calm.backend.config.server.model_copy(update={"request_timeout": seconds})
    config = calm.backend.config.model_copy(update={"server": server})
    backend = replace(calm.backend, config=config, postgres=None)
    async with (
        Server(backend).running() as other,
        listening(other) as base,
        httpx2.AsyncClient(base_url=base, timeout=30) as http,
    ):
        yield Caller("user1", "user1", calm.keys["user1"], http)


async def test_the_request_deadline_stops_the_statement_and_rolls_back(calm: Stand) -> None:
    async with hasty(calm, 0.5) as one:
        with pytest.raises(Refused, match="FLX503"):
            await one.call("query_table", table="tarpit")
        assert await gone(calm, "tarpit") < 1
        with pytest.raises(Refused, match="FLX503"):
            await one.call("insert_record", table="sticky", data={"n": 1})
        assert await gone(calm, "sticky") < 1
    await calm.settle()


async def test_a_commit_under_way_at_the_deadline_is_told_as_what_it_becomes(calm: Stand) -> None:
    async with hasty(calm, 0.5) as one, calm.owner() as conn:
        made = await one.call("insert_record", table="late_word", data={"n": 1}, returning="")
        assert made["inserted"] == 1
        # One that does not end in time is neither promised nor denied.
        seconds, response = await call(one, "insert_record", table="late_word", data={"n": 9})
        assert response.status_code == 503
        assert "unknown" in response.json()["error"]["message"]
        assert seconds < 8
        assert await conn.fetchval("SELECT count(*) FROM public.late_word WHERE n = 1") == 1
        await conn.execute("DELETE FROM public.late_word")
    await calm.settle()


async def test_time_limits_of_statements_and_locks_are_errors_of_the_tool(calm: Stand) -> None:
    async with calm.owner() as conn, calm.caller() as one:
        key = await conn.fetchval("SELECT role_name FROM auth.api_keys WHERE name = 'user1'")
        await conn.execute(f"ALTER ROLE {key} SET statement_timeout = '300ms'")
        await conn.execute(f"ALTER ROLE {key} SET lock_timeout = '100ms'")
        try:
            await conn.execute("NOTIFY fluxbase_keys")

            async def hoisted() -> bool:
                seconds, response = await call(one, "query_table", table="tarpit")
                error = response.json()["result"]["_meta"]["fluxbase/error"]
                assert error["code"] == "FLX503"
                return seconds < 1

            await eventually(hoisted, "the role's own limit holds", 40)
            async with conn.transaction():
                await conn.execute("LOCK TABLE public.ledger")
                with pytest.raises(Refused, match="FLX503: a lock could not be had in time"):
                    await one.call("insert_record", table="ledger", data={"n": 1})
        finally:
            await conn.execute(f"ALTER ROLE {key} RESET ALL")
            await conn.execute("NOTIFY fluxbase_keys")
    await calm.settle()
