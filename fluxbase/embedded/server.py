"""One run of the postgres program, from spawning to its end; it decides nothing about retries."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.embedded import child, pidfile, settings
from fluxbase.embedded.log import Log
from fluxbase.embedded.progress import Progress
from fluxbase.errors import ConfigError, FluxbaseError, Unavailable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fluxbase.embedded.account import Account
    from fluxbase.embedded.binaries import Binaries

_POLL_SECONDS = 0.02
_FAST_SECONDS = 30.0
_QUIT_SECONDS = 10.0
_WRONG_SETTING = ("configuration parameter", "invalid value for parameter", "configuration file")


class StillInUse(Unavailable):
    """Children of a Postgres which was killed still hold its shared memory; they go soon."""


class PortTaken(ConfigError):
    """Somebody took the port between our look at it and Postgres' own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a start needs and which stays the same from one to the next."""

    data: Path
    account: Account
    binaries: Binaries
    log: Path
    password: str
    extra: Mapping[str, str]


class Server:
    """A postgres process which is our child."""

    def __init__(self, plan: Plan, port: int, socket_dir: str) -> None:
        """Start it; call this from the thread of the event loop (see `child`)."""
        self._plan = plan
        self._port = port
        self._log = Log.open(plan.log)
        options = settings.options(port, socket_dir, plan.extra)
        command = [plan.binaries.program("postgres"), "-D", str(plan.data), *options]
        try:
            self._process: subprocess.Popen[bytes] = child.spawn(
                plan.account, command, self._log.fd
            )
        except OSError as error:
            self._log.close()
            raise Unavailable(f"Postgres could not be run ({error.strerror}).") from None

    async def ready(self, notify: Callable[[str], None]) -> None:
        """Return when it takes connections: crash recovery may take long, so only death ends it."""
        progress = Progress(notify)
        try:
            while not self._is_ready():
                if self._process.poll() is not None:
                    raise self._failure()
                progress.tell("Postgres is still starting, maybe after a crash.")
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._log.close()

    def _is_ready(self) -> bool:
        found = pidfile.read(self._plan.data)
        return found is not None and found.ready and found.pid == self._process.pid

    def _failure(self) -> FluxbaseError:
        said, hint = self._log.said(), self._log.complaint(self._plan.password)
        if "pre-existing shared memory block" in said:
            return StillInUse("An earlier Postgres on this data has not gone yet.", hint=hint)
        if "could not bind" in said and "Address already in use" in said:
            return PortTaken(f"Another program took port {self._port}.", hint=hint)
        if any(words in said for words in _WRONG_SETTING):
            return ConfigError("Postgres refuses its settings.", hint=hint)
        return Unavailable("Postgres could not start.", hint=hint)

    async def ended(self) -> None:
        """Return when it is gone, for whatever reason."""
        await child.wait(self._process)

    async def stop(self) -> None:
        """End it: clients are cut off and all is written; a hanging one is made to quit."""
        for number, seconds in (
            (signal.SIGINT, _FAST_SECONDS),
            (signal.SIGQUIT, _QUIT_SECONDS),
            (signal.SIGKILL, _QUIT_SECONDS),
        ):
            if self._process.poll() is None:
                self._process.send_signal(number)
                await child.wait(self._process, seconds)
