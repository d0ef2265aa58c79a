"""One durable cluster for all tests that are rough with Postgres."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.reliability.stand import DURABLE, Stand, stand

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
