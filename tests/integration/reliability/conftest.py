"""One durable cluster for all tests that are rough with Postgres."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.embedded import EmbeddedPostgres
from tests.integration.reliability.stand import DURABLE, Stand, login, stand

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def rough_home() -> Generator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fluxbase-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
async def rough(rough_home: Path) -> AsyncGenerator[Stand]:
    """A server whose Postgres may be killed: nothing of what makes tests fast is on."""
    database = {
        "embedded": {"data_dir": rough_home / "pgdata", "settings": DURABLE},
        "client_pool_size": 4,
    }
    async with stand(rough_home, database=database) as opened:
        yield opened


@pytest.fixture
async def calm(rough: Stand) -> AsyncGenerator[Stand]:
    """The same with an empty ledger, and every connection back at the end."""
    async with rough.owner() as conn:
        await conn.execute("TRUNCATE public.ledger")
    yield rough
    await rough.settle()


@dataclass
class Outer:
    """A cluster that is not ours to run, with a database whose owner is an ordinary role."""

    superuser: str
    owner: str
    port: int
    bin_dir: Path

    def config(self, home: Path, **more: Any) -> dict[str, Any]:
        """Return the database section of a server on it."""
        return {"url": self.owner, "client_pool_size": 4, **more}


@pytest.fixture(scope="session")
async def outer(rough_home: Path) -> AsyncGenerator[Outer]:
    cluster = EmbeddedPostgres(rough_home / "outer", settings={"fsync": "off"})
    at = await cluster.start()
    try:
        superuser = f"postgresql://{at.user}:{at.password}@127.0.0.1:{at.port}"
        conn = await login(f"{superuser}/postgres")
        await conn.execute("CREATE ROLE landlord LOGIN CREATEROLE PASSWORD 'p@ss word/1'")
        await conn.execute("CREATE DATABASE app OWNER landlord")
        found = await conn.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        await conn.close()
        conn = await login(f"{superuser}/app")
        await conn.execute("CREATE EXTENSION vector")  # as managed services do it: into public
        await conn.close()
        owner = f"postgresql://landlord:p%40ss%20word%2F1@127.0.0.1:{at.port}/app"
        yield Outer(superuser, owner, at.port, Path(found))
    finally:
        await cluster.stop()
