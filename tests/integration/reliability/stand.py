"""A server on a real port over a cluster of its own, which tests may kill, stop and cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2

from fluxbase.app.backend import Backend, open_backend
from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from fluxbase.db.dsn import database_of, socket_url
from fluxbase.embedded.pidfile import live
from fluxbase.errors import Unavailable
from fluxbase.http.server import bind, serve
from tests.conftest import config_for
from tests.world import TABLES, USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from fluxbase.db.types import Connection

LEDGER = """
CREATE TABLE public.ledger (n bigint NOT NULL, owner uuid NOT NULL DEFAULT auth.uid());
ALTER TABLE public.ledger ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.ledger USING (owner = (SELECT auth.uid()));
GRANT SELECT, INSERT, UPDATE, DELETE ON public.ledger TO authenticated;
CREATE FUNCTION public.slow(seconds float8) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN PERFORM pg_sleep(seconds); RETURN true; END $$;
GRANT EXECUTE ON FUNCTION public.slow TO authenticated;
CREATE VIEW public.tarpit WITH (security_invoker = true) AS SELECT 1 AS n WHERE public.slow(20);
GRANT SELECT ON public.tarpit TO authenticated;
CREATE TABLE public.sticky (n bigint NOT NULL);
CREATE FUNCTION public.drag() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$;
CREATE TRIGGER drag BEFORE INSERT ON public.sticky FOR EACH ROW EXECUTE FUNCTION public.drag();
ALTER TABLE public.sticky ENABLE ROW LEVEL SECURITY;
CREATE POLICY anyone ON public.sticky USING (true);
GRANT SELECT, INSERT, UPDATE ON public.sticky TO authenticated;
CREATE TABLE public.late_word (n bigint NOT NULL);
CREATE FUNCTION public.linger() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_sleep(NEW.n); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON public.late_word DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION public.linger();
ALTER TABLE public.late_word ENABLE ROW LEVEL SECURITY;
CREATE POLICY anyone ON public.late_word USING (true);
GRANT SELECT, INSERT ON public.late_word TO authenticated;
"""
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


async def eventually(ask: Callable[[], Awaitable[Any]], what: str, seconds: float = 10.0) -> float:
    """Ask until the answer is true and return how long that took."""
    began = time.monotonic()
    while not await ask():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def superuser_url(backend: Backend, database: str) -> str:
    assert backend.postgres is not None
    at = backend.postgres.endpoint
    return socket_url(at.socket_dir, at.port, at.user, at.password, database)


async def login(url: str) -> Connection:
    return await asyncpg.connect(url, timeout=10)


@dataclass
class Stand:
    """One cluster, one server, two callers."""

    backend: Backend
    server: Server
    base: str
    keys: dict[str, str]
    data_dir: Path

    @asynccontextmanager
    async def caller(self, name: str = "user1") -> AsyncGenerator[Caller]:
        async with httpx2.AsyncClient(base_url=self.base, timeout=60) as http:
            yield Caller(name, name, self.keys[name], http)

    @asynccontextmanager
    async def owner(self) -> AsyncGenerator[Connection]:
        conn = await login(self.backend.database.logins.admin)
        try:
            yield conn
        finally:
            await conn.close()

    @asynccontextmanager
    async def superuser(self) -> AsyncGenerator[Connection]:
        database = database_of(self.backend.database.logins.admin)
        conn = await login(superuser_url(self.backend, database))
        try:
            yield conn
        finally:
            await conn.close()

    def postmaster(self) -> int:
        found = live(self.data_dir)
        assert found is not None
        return found.pid

    def processes(self) -> list[int]:
        """Return the postmaster and its children."""
        parent = self.postmaster()
        return [parent, *children(parent)]

    @asynccontextmanager
    async def frozen(self) -> AsyncGenerator[None]:
        """Stop every process of Postgres, as a hanging disk or machine would."""
        stopped = self.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def in_use(self) -> dict[str, int]:
        return {s.name: s.in_use for s in self.backend.database.states() if s.in_use}

    async def settle(self) -> None:
        """Wait until Postgres answers and every connection has come back."""

        async def idle() -> bool:
            try:
                await self.backend.database.ready()
            except Unavailable:
                return False
            return not self.in_use()

        await eventually(idle, f"connections came back, not {self.in_use()}")


def children(parent: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@asynccontextmanager
async def listening(server: Server) -> AsyncGenerator[str]:
    """Serve an application on a loopback port and yield its address."""
    listener = bind("127.0.0.1", 0)
    ready = asyncio.Event()
    task = asyncio.create_task(
        serve(server, sockets=[listener], drain_timeout=1, on_ready=ready.set)
    )
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def stand(
    home: Path, schema: str = LEDGER, **sections: Mapping[str, Any]
) -> AsyncGenerator[Stand]:
    config = config_for(home, **{"server": {"allowed_hosts": ["127.0.0.1"]}, **sections})
    async with open_backend(config, notify=lambda _: None) as backend:
        conn = await login(backend.database.logins.admin)
        await conn.execute(schema)
        await conn.close()
        keys: dict[str, str] = {}
        for name, user in (("user1", USER1), ("user2", USER2)):
            new = NewKey(name, (*TABLES, "read:schema"), user_id=user)
            keys[name] = (await backend.keys.create("client_key", new)).key
        keys["service"] = (await backend.keys.create("service_key", NewKey("service"))).key
        async with Server(backend).running() as server, listening(server) as base:
            yield Stand(backend, server, base, keys, config.database.embedded.data_dir)
