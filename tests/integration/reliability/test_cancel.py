"""Who leaves, or takes too long, is stopped inside Postgres, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.integration.reliability.stand import Stand, eventually, listening
from tests.integration.reliability.test_hang import call, running
from tests.world import Caller, Refused

import httpx2

from fluxbase.app.backend import Backend
from fluxbase.app.server import Server


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


async def test_the_request_deadline_stops_the_statement_and_rolls_back(calm: Stand) -> None:
    server = calm.backend.config.server.model_copy(update={"request_timeout": 0.5})
    backend = Backend(
        calm.backend.config.model_copy(update={"server": server}),
        calm.backend.database,
        calm.backend.peppers,
        calm.backend.keys,
        calm.backend.announced,
        None,
    )
    async with (
        Server(backend).running() as hasty,
        listening(hasty) as base,
        httpx2.AsyncClient(base_url=base) as http,
    ):
        one = Caller("user1", "user1", calm.keys["user1"], http)
        for table in ("tarpit", "sticky"):
            with pytest.raises(Refused, match="FLX503"):
                if table == "tarpit":
                    await one.call("query_table", table=table)
                else:
                    await one.call("insert_record", table=table, data={"n": 1})
            assert await gone(calm, table) < 1
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
