"""Postgres hangs, or has no connection left: callers are told so in time, and nothing leaks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.reliability.stand import Stand, eventually

if TYPE_CHECKING:
    from tests.world import Caller


async def call(caller: Caller, tool: str, **arguments: Any) -> tuple[float, Any]:
    """Return how long a call took and its response."""
    began = time.monotonic()
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }
    response = await caller.post(body)
    return time.monotonic() - began, response


def is_refused(response: Any) -> bool:
    return response.status_code == 503 and int(response.headers["retry-after"]) >= 1


@pytest.mark.slow
async def test_a_hanging_postgres_is_answered_for_in_five_seconds_and_forgiven_at_once(
    calm: Stand,
) -> None:
    async with calm.caller() as one:
        await one.call("insert_record", table="ledger", data={"n": 1})
        await one.call("query_table", table="ledger")
        async with calm.frozen():
            first = await asyncio.gather(
                *(call(one, "query_table", table="ledger") for _ in range(6)),
                *(call(one, "insert_record", table="ledger", data={"n": 2}) for _ in range(6)),
            )
            assert all(is_refused(response) for _, response in first)
            assert max(seconds for seconds, _ in first) < 5
            seconds, response = await call(one, "query_table", table="ledger")
            assert is_refused(response)
            assert seconds < 0.5
            assert (await one.http.get("/livez")).status_code == 200

            async def unready() -> bool:
                return (await one.http.get("/readyz")).status_code == 503

            await eventually(unready, "not ready", 3)

        async def ready() -> bool:
            return (await one.http.get("/readyz")).status_code == 200

        await eventually(ready, "ready again", 5)
        page = await one.call("query_table", table="ledger")
        assert page["rows"] in ([{"n": 1, "owner": page["rows"][0]["owner"]}],)
    await calm.settle()


@pytest.mark.slow
async def test_a_statement_that_runs_when_postgres_hangs_is_cut_off(calm: Stand) -> None:
    async with calm.caller() as one:
        slow = asyncio.create_task(call(one, "query_table", table="tarpit"))
        await eventually(lambda: running(calm, "tarpit"), "the query runs")
        async with calm.frozen():
            seconds, response = await slow
        assert is_refused(response)
        assert seconds < 6
    await calm.settle()


async def test_an_exhausted_pool_refuses_in_time_and_leaves_readiness_alone(calm: Stand) -> None:
    async with calm.caller() as one:
        size = calm.backend.config.database.client_pool_size
        slow = [asyncio.create_task(call(one, "query_table", table="tarpit")) for _ in range(size)]
        await eventually(lambda: running(calm, "tarpit", size), "the queries run")
        waiting = [call(one, "query_table", table="ledger") for _ in range(20)]
        for seconds, response in await asyncio.gather(*waiting):
            assert is_refused(response)
            assert 1.5 < seconds < 4
        assert (await one.http.get("/readyz")).status_code == 200
        async with calm.superuser() as conn:
            await conn.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%tarpit%' "
                "AND state = 'active' AND pid <> pg_backend_pid()"
            )
        for _, response in await asyncio.gather(*slow):
            error = response.json()["result"]["_meta"]["fluxbase/error"]
            assert error["code"] == "FLX503"
            assert "administers" in error["message"]
    await calm.settle()


async def running(stand: Stand, words: str, many: int = 1) -> bool:
    """Whether so many statements with these words run."""
    async with stand.superuser() as conn:
        found = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()",
            words,
        )
    return found >= many
