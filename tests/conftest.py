"""One Postgres and one server for each worker, and callers by name."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import httpx2
import pytest

from fluxbase.app.backend import Backend, open_backend
from fluxbase.app.rooms import ROOMS
from fluxbase.app.server import Server
from fluxbase.config import Config
from tests.programs import UNPACKED
from tests.world import CALLERS, ROWS, SCHEMA, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping
    from types import ModuleType

    from fluxbase.auth.token import KeyKind

# Where bubblewrap was unpacked, if it is not installed.
os.environ["PATH"] += os.pathsep + str(UNPACKED / "usr" / "bin")
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def home() -> Generator[Path]:
    """A directory that the user who runs Postgres can reach."""
    path = Path(tempfile.mkdtemp(prefix="fluxbase-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def config_for(home: Path, **sections: Mapping[str, Any]) -> Config:
    """Return the configuration of a test server, its sections laid over the usual ones."""
    base: dict[str, dict[str, Any]] = {
        "mcp": {"enabled": True, "rate_limit_per_min": 1_000_000},
        "server": {"allowed_hosts": ["test"]},
        "auth": {"peppers_file": home / "peppers", "failed_per_min": 1_000_000},
        "storage": {"path": home / "storage"},
        # Packages are fetched once for all tests, in the folder of what tests need.
        "functions": {"cache_dir": UNPACKED.parent / "deno"},
        "database": {
            "embedded": {"data_dir": home / "pgdata", "settings": FAST},
            "client_pool_size": 4,
        },
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return Config.model_validate(base)


@pytest.fixture(scope="session")
async def backend(home: Path) -> AsyncGenerator[Backend]:
    """A migrated database with the tables of `tests.world`."""
    async with open_backend(config_for(home), notify=lambda _: None) as opened:
        conn = await asyncpg.connect(opened.database.logins.admin)
        await conn.execute(SCHEMA)
        await conn.close()
        yield opened


@pytest.fixture(scope="session")
async def owner(backend: Backend) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection as the owner of the database: the model that tenants are compared with."""
    conn = await asyncpg.connect(backend.database.logins.admin)
    yield conn
    await conn.close()


@pytest.fixture(scope="session")
async def keys(backend: Backend) -> dict[str, tuple[str, str]]:
    """The id and the text of every key of `tests.world.CALLERS`."""
    made: dict[str, tuple[str, str]] = {}
    for name, (kind, new) in CALLERS.items():
        issued = await backend.keys.create(cast("KeyKind", kind), new)
        made[name] = (issued.id, issued.key)
    return made


@pytest.fixture(scope="session")
async def server(backend: Backend) -> AsyncGenerator[Server]:
    """The server that most tests talk to."""
    async with Server(backend).running() as running:
        yield running


@pytest.fixture
async def rows(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    """Put every table back to its first rows."""
    await owner.execute(ROWS)


def http_to(app: Any, remote: str = "127.0.0.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(remote, 12345))
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def http(server: Server) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client without any credential."""
    async with http_to(server) as client:
        yield client


@pytest.fixture
async def callers(
    http: httpx2.AsyncClient, keys: dict[str, tuple[str, str]], rows: None
) -> dict[str, Caller]:
    """Every caller by name, with the tables at their first rows."""
    return {name: Caller(name, id_, key, http) for name, (id_, key) in keys.items()}


@pytest.fixture
async def user1(callers: dict[str, Caller]) -> Caller:
    return callers["user1"]


@pytest.fixture
async def user2(callers: dict[str, Caller]) -> Caller:
    return callers["user2"]


@pytest.fixture
async def service(callers: dict[str, Caller]) -> Caller:
    return callers["service"]


@pytest.fixture
def serving(backend: Backend, home: Path) -> Callable[..., Any]:
    """Open another server on the same database with other settings: `serving(mcp={...})`."""

    @asynccontextmanager
    async def serve(
        remote: str = "127.0.0.1",
        rooms: tuple[ModuleType, ...] = ROOMS,
        **sections: Mapping[str, Any],
    ) -> AsyncGenerator[httpx2.AsyncClient]:
        config = config_for(home, **sections)
        other = replace(backend, config=config, postgres=None)
        async with (
            Server(other, rooms=rooms).running() as running,
            http_to(running, remote) as client,
        ):
            yield client

    return serve
