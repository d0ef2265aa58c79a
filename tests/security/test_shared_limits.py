"""Two servers that share a Redis hold one limit together; without it each goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.app.server import Server
from tests.conftest import config_for
from tests.redis_server import redis_server
from tests.security.conftest import client_of
from tests.security.test_keys_attacks import send

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    import httpx2

    from fluxbase.app.backend import Backend


LIMIT = 20


@pytest.fixture
def redis() -> Generator[tuple[subprocess.Popen[bytes], str]]:
    with redis_server() as running:
        yield running


@pytest.fixture
def sharing(backend: Backend, home: Path) -> Callable[[str], Any]:
    """Open a server that counts at an address; close its connections at the end."""

    @asynccontextmanager
    async def serve(address: str = "memory://") -> AsyncGenerator[httpx2.AsyncClient]:
        limits = {"mcp": {"rate_limit_per_min": LIMIT}, "limits": {"storage": address}}
        config = config_for(home, **limits)
        other = replace(backend, config=config, postgres=None)
        async with Server(other).running() as server, client_of(server) as http:
            yield http
        await server.limiter.close()

    return serve


async def hammer(key: str, *servers: Any, times: int) -> list[int]:
    """Send `times` requests to the servers in turn, all at once."""
    asked = [send(servers[n % len(servers)], ("X-Client-Key", key)) for n in range(times)]
    return [answer.status_code for answer in await asyncio.gather(*asked)]


async def test_two_servers_hold_one_exact_limit_together(
    redis: tuple[Any, str], issue: Callable[..., Any], sharing: Callable[..., Any]
) -> None:
    key, other = await issue(), await issue()
    async with sharing(redis[1]) as one, sharing(redis[1]) as two:
        codes = await hammer(key.key, one, two, times=3 * LIMIT)
        assert sorted(codes) == [200] * LIMIT + [429] * 2 * LIMIT
        assert await hammer(other.key, one, two, times=2) == [200, 200]


async def test_control_two_servers_without_redis_let_twice_as_many_through(
    issue: Callable[..., Any], sharing: Callable[..., Any]
) -> None:
    key = await issue()
    async with sharing() as one, sharing() as two:
        codes = await hammer(key.key, one, two, times=3 * LIMIT)
        assert codes.count(200) == 2 * LIMIT


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "hung"])
async def test_without_redis_each_server_goes_on_counting_and_never_blocks(
    how: int, redis: tuple[Any, str], issue: Callable[..., Any], sharing: Callable[..., Any]
) -> None:
    key, fresh = await issue(), await issue()
    async with sharing(redis[1]) as http:
        assert sorted(await hammer(key.key, http, times=LIMIT + 1)) == [200] * LIMIT + [429]
        os.kill(redis[0].pid, how)
        started = time.monotonic()
        codes = await hammer(fresh.key, http, times=2 * LIMIT)
        assert time.monotonic() - started < 3
        assert codes.count(200) == LIMIT  # a limit, though only its own
        assert "fluxbase_limits_fallback_total 0.0" not in (await http.get("/metrics")).text
        if how == signal.SIGSTOP:
            os.kill(redis[0].pid, signal.SIGCONT)
            async with asyncio.timeout(10):  # and back to the shared count by itself
                while await hammer(key.key, http, times=1) == [200]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
