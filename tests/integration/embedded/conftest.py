"""Places for clusters, and drivers which do not outlive their test."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbase.embedded.pidfile import leftovers, live
from tests.integration.embedded.stand import ACCOUNTS, ROOT, Account, Driver, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _base() -> str:
    """Memory where there is enough of it: a cluster is 40 MB in a thousand files."""
    memory = Path("/dev/shm")  # noqa: S108 - used by mkdtemp only
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return str(memory) if roomy else "/tmp"  # noqa: S108


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory which every account can walk to: pytest's own is private to us."""
    made = Path(tempfile.mkdtemp(prefix="fluxbase-test-", dir=_base()))
    made.chmod(0o755)
    yield made
    _wait_until_unused(made)
    for link in made.rglob("*"):
        if link.is_symlink():
            shutil.rmtree(os.path.realpath(link), ignore_errors=True)
    shutil.rmtree(made)


def _wait_until_unused(made: Path) -> None:
    end = time.monotonic() + 15
    for data in {path.resolve().parent for path in made.rglob("*/PG_VERSION")}:
        while live(data) is not None or leftovers(data):
            assert time.monotonic() < end, f"a Postgres still runs in {data}"
            time.sleep(0.02)


@pytest.fixture
def new_dir(place: Path) -> Path:
    """A data directory which is still to be made."""
    return place / "data"


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A cluster made once, since making one takes longer than all else here."""
    made = Path(tempfile.mkdtemp(prefix="fluxbase-test-", dir=_base()))
    made.chmod(0o755)
    asyncio.run(_make(made / "data"))
    yield made
    shutil.rmtree(made)


async def _make(data_dir: Path) -> None:
    async with running(data_dir):
        pass


@pytest.fixture
def data_dir(new_dir: Path, template: Path) -> Path:
    """A data directory which was used before, by this user."""
    for name in ("data", "data.password"):
        subprocess.run(["cp", "-a", template / name, new_dir.parent], check=True)
    return new_dir


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    """Start drivers: `drive(data_dir, account, *words)`."""
    started: list[Driver] = []

    def start(data_dir: Path, account: Account = ACCOUNTS[0], *words: str) -> Driver:
        if account.identity and ROOT:
            os.chown(data_dir.parent, account.identity["user"], account.identity["group"])
        started.append(Driver(data_dir, account, *words))
        return started[-1]

    yield start
    for driver in started:
        driver.close()
