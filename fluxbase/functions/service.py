"""What the room has for all its calls: processes, code, secrets and the way out."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from fluxbase.errors import RateLimited
from fluxbase.functions.bundle import bundle, network_of
from fluxbase.functions.pool import Pool
from fluxbase.functions.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from fluxbase.config.functions import Functions as Config
    from fluxbase.db.database import Database
    from fluxbase.functions.broker import Fetch
    from fluxbase.principal import Principal


class Secrets(Protocol):
    """Knows the secrets of a namespace."""

    async def of(self, namespace: str) -> Mapping[str, str]:
        """Return them by their names."""
        ...

    def forget(self) -> None:
        """Ask for them again the next time."""
        ...


class Functions:
    """The room of edge functions in one server process."""

    def __init__(
        self, config: Config, database: Database, secrets: Secrets | None, outbound: Fetch
    ) -> None:
        self.config = config
        self.registry = Registry(database, self.end_old)
        self.pool = Pool(config)
        self.outbound = outbound
        self.hears_lines: Callable[[str, str, str], None] | None = None  # function, level, line
        self._cache = config.cache_dir.absolute()
        self._secrets = secrets
        self._running: Counter[str] = Counter()
        self._stamps: dict[str, tuple[Mapping[str, str], int]] = {}

    async def bundle(self, files: Mapping[str, str], entry: str | None = None) -> str:
        """Return the module of some files; see `fluxbase.functions.bundle.bundle`."""
        sandbox = await self.pool.sandbox()
        reach = network_of(os.environ)
        return await bundle(self.config, sandbox, self._cache, files, entry, reach)

    async def environment(self, namespace: str) -> tuple[Mapping[str, str], int]:
        """Return the secrets of a namespace, and a number that changes when they do.

        Raises:
            FluxbaseError: they cannot be read.
        """
        found: Mapping[str, str] = {}
        if self._secrets is not None:
            found = await self._secrets.of(namespace)
        known, stamp = self._stamps.get(namespace, (None, 0))
        if known != found:
            stamp += 1
            self._stamps[namespace] = (found, stamp)
        return found, stamp

    @contextmanager
    def admitted(self, who: Principal) -> Generator[None]:
        """Count a call of somebody while it runs.

        Raises:
            RateLimited: as many run already as one key may have.
        """
        most = self.config.concurrency_per_key
        if self._running[who.owner] >= most:
            raise RateLimited(f"{most} functions of this key run already", retry_after=1)
        self._running[who.owner] += 1
        try:
            yield
        finally:
            self._running[who.owner] -= 1
            if not self._running[who.owner]:
                del self._running[who.owner]

    def hear(self) -> None:
        """Take in that functions or secrets changed."""
        self.registry.forget()
        if self._secrets is not None:
            self._secrets.forget()

    def end_old(self, known: Mapping[str, int]) -> None:
        """End the processes that wait for calls of what is not in force any more."""
        self.pool.forget(lambda key: known.get(key.function) == key.version)

    async def close(self) -> None:
        """End every process."""
        await self.pool.close()
