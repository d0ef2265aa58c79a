"""Opens the database for commands, one at a time where it is embedded; knows no command.

Whoever starts Postgres also stops it. Without turns a command that came second would lose the
database when the first is done, and a server that starts would find one that is about to go.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from fluxbase.app.backend import open_backend
from fluxbase.cli.settings import current, run_quietly
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from fluxbase.config import Config

T = TypeVar("T")

_POLL: Final = 0.03


def with_backend(work: Callable[[Backend], Awaitable[T]], *, long: bool = False) -> T:
    """Do something with the database of this command's configuration, whether a server runs or not.

    What takes `long` lets other commands in where Postgres is a running server's, not its own.

    Raises:
        FluxbaseError: it cannot be opened, or the work fails.
    """
    config = current().load().config

    async def opened() -> T:
        at_start = config.migrations.at_start
        async with AsyncExitStack() as waiting:
            await waiting.enter_async_context(turn(config))
            async with open_backend(config, migrate=at_start) as backend:
                if long and backend.postgres and not backend.postgres.endpoint.owned:
                    await waiting.aclose()
                return await work(backend)

    return run_quietly(opened())


@asynccontextmanager
async def turn(config: Config, *, patience: float = 60.0) -> AsyncGenerator[None]:
    """Keep other commands out for as long as the block lasts; a database elsewhere needs no turns.

    Raises:
        Unavailable: another command does not end within `patience` seconds.
    """
    lock = None if config.database.url is not None else _open(config.database.embedded.data_dir)
    if lock is None:
        yield
        return
    try:
        end = time.monotonic() + patience
        while not _taken(lock):
            if time.monotonic() > end:
                raise Unavailable(
                    "another fluxbase command is still starting or using this database",
                    hint="wait for its end, or stop it",
                )
            await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(lock)


def _open(data_dir: Path) -> int | None:
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(data_dir.with_name(f"{data_dir.name}.turn"), flags, 0o600)
    except OSError:
        # A folder that cannot be written is explained by who needs it for more than this.
        return None


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
