"""The database that every contestant asks: 100,000 rows of 991 users under row-level security."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from fluxbase.app.backend import open_backend
from fluxbase.auth.keys import NewKey
from fluxbase.config import Config
from tests.bench.work import BIG, KEYS, SCHEMA, VACUUM

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend

POOL: Final = 16  # connections to Postgres, for every contestant that can be told
_SCOPES: Final = ("read:tables", "write:tables")
# Durability is as usual; only that no checkpoint falls into the measurement of some contestant.
_SETTINGS: Final = {
    "max_connections": "250",
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """One key, and what a server without keys needs to act as its holder."""

    key: str
    role: str
    claims: str
    user_id: str

    @property
    def entering(self) -> str:
        """The first trip of a transaction: its claims and its role in one message."""
        claims = self.claims.replace("'", "''")
        return (
            f"BEGIN; SELECT set_config('request.jwt.claims', '{claims}', true), "
            "set_config('role', 'authenticated', true)"
        )


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of the clients' login, for programs that want them one by one."""

    directory: str
    port: str
    user: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class World:
    """A database that is up, and who may ask it."""

    config: Config
    home: Path
    backend: Backend
    callers: tuple[Caller, ...]
    big: Caller
    postmaster: int
    version: str

    @property
    def url(self) -> str:
        """The clients' login."""
        return self.backend.database.logins.client

    @property
    def address(self) -> Address:
        """The clients' login in parts; Postgres is reached through its socket."""
        parts = urlsplit(self.url)
        query = parse_qs(parts.query)
        return Address(
            query["host"][0],
            query["port"][0],
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.path.lstrip("/"),
        )

    @property
    def file(self) -> Path:
        """Where the other processes find what they need."""
        return self.home / "world.json"

    def notes(self, caller: Caller) -> int:
        """Return how many rows a caller has inserted so far; not to be called from a loop."""
        return asyncio.run(_notes(self.backend.database.logins.admin, caller.user_id))


async def _notes(url: str, user_id: str) -> int:
    conn = await asyncpg.connect(url)
    try:
        query = "SELECT count(*) FROM public.notes WHERE user_id = $1"
        return int(await conn.fetchval(query, user_id))
    finally:
        await conn.close()


def read_world(path: Path) -> tuple[str, dict[str, Caller]]:
    """Return the address of the database and the callers by key, in another process."""
    text: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return text["url"], {key: Caller(**caller) for key, caller in text["callers"].items()}


@asynccontextmanager
async def open_world(home: Path) -> AsyncGenerator[World]:
    """Start Postgres with its usual durability and fill it."""
    config = Config.model_validate(
        {
            "mcp": {"enabled": True, "rate_limit_per_min": 100_000_000},
            "auth": {"peppers_file": home / "peppers"},
            "database": {"embedded": {"data_dir": home / "pgdata", "settings": _SETTINGS}},
            "migrations": {"dir": home / "migrations"},
        }
    )
    async with open_backend(config, notify=lambda _: None) as backend:
        conn = await asyncpg.connect(backend.database.logins.admin)
        try:
            await conn.execute(SCHEMA)
            callers = [await issued(backend, f"bench {n}", n) for n in range(KEYS)]
            big = await issued(backend, f"bench {BIG}", BIG)
            await conn.execute(VACUUM)
            version = str(await conn.fetchval("SHOW server_version"))
        finally:
            await conn.close()
        pid = (home / "pgdata" / "postmaster.pid").read_text("utf-8").split("\n", 1)[0]
        world = World(config, home, backend, tuple(callers), big, int(pid), version)
        _write_down(world)
        yield world


def _write_down(world: World) -> None:
    """Write what the other processes need, for their owner's eyes only."""
    world.file.touch(mode=0o600)
    callers = {caller.key: asdict(caller) for caller in (*world.callers, world.big)}
    world.file.write_text(json.dumps({"url": world.url, "callers": callers}), "utf-8")


async def issued(
    backend: Backend, name: str, number: int, scopes: tuple[str, ...] = _SCOPES
) -> Caller:
    """Make a key of the user with this number."""
    user_id = f"00000000-0000-4000-8000-{number:012}"
    made = await backend.keys.create("client_key", NewKey(name, scopes, user_id=user_id))
    claims = json.dumps({"sub": user_id, "role": "authenticated"})
    return Caller(made.key, f"key_{made.id}", claims, user_id)
