"""Servers that run jobs, and keys that submit them."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from tests.conftest import config_for
from tests.world import USER1, USER2, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from fluxbase.app.backend import Backend

HANDLERS = {
    name: f"tests.integration.jobs.handlers:{name}"
    for name in ("echo", "steps", "plain", "note", "fails", "slow", "stubborn")
}
PATIENCE = 15.0
_SCOPES = ("execute:jobs", "read:tables", "write:tables", "execute:rpc")


@dataclass
class Stand:
    """One server, and callers by name."""

    server: Server
    http: httpx2.AsyncClient
    keys: dict[str, tuple[str, str]]

    def caller(self, name: str) -> Caller:
        return Caller(name, *self.keys[name], self.http)

    @property
    def one(self) -> Caller:
        return self.caller("one")

    @property
    def two(self) -> Caller:
        return self.caller("two")

    @property
    def service(self) -> Caller:
        return self.caller("service")


@pytest.fixture(scope="session")
async def job_keys(backend: Backend) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for name, user in (("one", USER1), ("two", USER2)):
        issued = await backend.keys.create(
            "client_key", NewKey(f"jobs of {name}", _SCOPES, user_id=user)
        )
        made[name] = issued.id, issued.key
    issued = await backend.keys.create("service_key", NewKey("jobs of a service"))
    made["service"] = issued.id, issued.key
    return made


@pytest.fixture
async def clean(owner: asyncpg.Connection[asyncpg.Record], rows: None) -> AsyncGenerator[None]:
    yield
    await owner.execute("DELETE FROM jobs.jobs; DELETE FROM jobs.definitions")
    await owner.execute("DELETE FROM platform.idempotency")


@pytest.fixture
def standing(
    backend: Backend, home: Path, job_keys: dict[str, tuple[str, str]], clean: None
) -> Callable[..., Any]:
    """Open a server of its own that runs jobs: `standing(lease=1, server={...})`."""

    @asynccontextmanager
    async def stand(server: dict[str, Any] | None = None, **jobs: Any) -> AsyncGenerator[Stand]:
        usual = {"handlers": HANDLERS, "backoff": 0.01, "poll": 0.2, "queues": {"tests": 4}}
        # Longer than one test waits for anything, but no test waits for the end of its server.
        timeouts = {"drain_timeout": 0.1, "request_timeout": PATIENCE}
        config = config_for(home, jobs=usual | jobs, server=timeouts | (server or {}))
        other = replace(backend, config=config, postgres=None)
        async with Server(other).running() as running:
            transport = httpx2.ASGITransport(app=running, client=("127.0.0.1", 12345))
            async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
                yield Stand(running, http, job_keys)

    return stand


@pytest.fixture
async def jobs(standing: Callable[..., Any]) -> AsyncGenerator[Stand]:
    """A server whose jobs of every handler may be submitted by anybody."""
    async with standing() as stand:
        for name in HANDLERS:
            await publish(stand, name)
        yield stand


async def publish(stand: Stand, name: str, **more: Any) -> None:
    arguments = {
        "name": name,
        "handler": f"python:{name}",
        "public": True,
        "max_attempts": 3,
        "queue": "tests",
    }
    await stand.service.call("publish_job", **(arguments | more))


async def submit(caller: Caller, name: str, payload: Any = None, **more: Any) -> dict[str, Any]:
    return await caller.call("submit_job", job_name=name, payload=payload or {}, **more)


async def ended(caller: Caller, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a job once it has ended."""
    told = await caller.call("get_job_status", job_id=job["job_id"], wait_seconds=14, **more)
    assert told["completed_at"], told
    return told


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := await condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.02)
    return found


async def running(caller: Caller, job: dict[str, Any]) -> None:
    async def runs() -> bool:
        told = await caller.call("get_job_status", job_id=job["job_id"])
        return told["status"] == "running"

    await until(runs, "a job that runs")


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value
