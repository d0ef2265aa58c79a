"""Brings one cluster up and keeps it up, alone or shared with other processes; it knows no SQL.

Whoever holds the lock beside the data directory owns Postgres: starts it, restarts it, stops it.
Everybody else attaches to what runs, and takes over when the owner is gone.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbase.embedded import account, binaries, cluster, orphans, pidfile, places, ports, settings
from fluxbase.embedded.endpoint import Endpoint
from fluxbase.embedded.lock import ClusterLock, Note
from fluxbase.embedded.progress import Progress
from fluxbase.embedded.server import Plan, PortTaken, Server, StillInUse
from fluxbase.errors import ConfigError, FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POLL_SECONDS = 0.1
_ATTACHED_POLL_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE, _PATIENT_PAUSE = 0.2, 10.0, 2.0
_STEADY_SECONDS = 30.0
_PORT_TRIES = 5


def _silent(sentence: str) -> None:
    del sentence


def _told(error: FluxbaseError | OSError) -> str:
    if isinstance(error, OSError):
        return f"the system refused a file ({error.strerror})."
    return f"{error.message} {error.hint or ''}".rstrip()


class EmbeddedPostgres:
    """A Postgres of our own: `start`, then `supervise` in a task, then cancel that and `stop`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = _silent,
        patience: float = 60.0,
    ) -> None:
        """Take what the configuration says; nothing is touched until `start`.

        `patience` is how long to wait for a process which holds the lock but runs no Postgres.
        """
        self._places = places.Places(Path(os.path.abspath(data_dir)))  # noqa: PTH100 - drops `..`
        self._bin_dir = bin_dir
        self._port = port
        self._extra = dict(settings or {})
        self._notify = notify
        self._patience = patience
        self._lock = ClusterLock(self._places.lock)
        self._endpoint: Endpoint | None = None
        self._plan: Plan | None = None
        self._server: Server | None = None
        self._socket_dir = ""
        self._stopping = False

    @property
    def endpoint(self) -> Endpoint:
        """Where Postgres is now; a takeover may change it."""
        if self._endpoint is None:
            raise Unavailable("The embedded Postgres has not been started.")
        return self._endpoint

    async def start(self) -> Endpoint:
        """Return when Postgres takes connections: started by us, or by who shares the data."""
        if self._server is not None:
            return self.endpoint
        settings.check(self._extra)
        self._stopping = False
        places.prepare(self._places)
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            if self._lock.acquire():
                return await self._lead_or_let_go()
            found = pidfile.live(self._places.data)
            if found is not None and found.ready:
                return self._attach(found)
            seen = loop.time() if found is not None else seen
            if loop.time() - seen > self._patience:
                raise self._held()
            await asyncio.sleep(_POLL_SECONDS)

    async def supervise(self) -> None:
        """Keep Postgres up until cancelled: restart ours, take over from an owner who is gone."""
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            try:
                await self._until_gone()
                if self._stopping:
                    return
                pause = _FIRST_PAUSE if loop.time() - began > _STEADY_SECONDS else pause
                await self._recover()
            except (FluxbaseError, OSError) as error:
                self._notify(f"Postgres is down: {_told(error)} Next try in {pause:.1f} s.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def stop(self) -> None:
        """Shut our Postgres down; leave one which we only attached to."""
        self._stopping = True
        await self._let_go()

    async def _let_go(self) -> None:
        server, self._server = self._server, None
        try:
            if server is not None:
                await server.stop()
        finally:
            if self._socket_dir:
                places.remove_socket_dir(self._socket_dir)
                self._socket_dir = ""
            self._lock.release()

    def _held(self) -> Unavailable:
        pid = self._lock.read().pid
        return Unavailable(
            f"Process {pid} holds {self._places.lock}, but runs no Postgres.",
            hint=f"Stop process {pid}, or choose another `database.embedded.data_dir`.",
        )

    def _attach(self, found: pidfile.Postmaster) -> Endpoint:
        password = self._existing_password()
        self._endpoint = Endpoint(found.socket_dir, found.port, password, owned=False)
        return self._endpoint

    def _existing_password(self) -> str:
        try:
            return places.read_password(self._places)
        except OSError as error:
            raise ConfigError(
                f"The database's password in {self._places.password} cannot be read "
                f"({error.strerror}).",
                hint="Bring the file back, or start as the user who owns it.",
            ) from None

    async def _lead_or_let_go(self) -> Endpoint:
        try:
            found = await self._running_anyway()
            if found is not None:
                self._lock.release()
                return self._attach(found)
            return await self._lead()
        except BaseException:
            await self._let_go()
            raise

    async def _running_anyway(self) -> pidfile.Postmaster | None:
        """Return a Postgres whose owner is gone, or which was started by hand, if it stays."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        progress = Progress(self._notify)
        # After its owner died, Postgres is told to stop: see that it does not.
        while (found := pidfile.live(self._places.data)) is not None:
            if found.ready and loop.time() - began > _ATTACHED_POLL_SECONDS:
                return found
            progress.tell(f"Postgres (process {found.pid}) has no owner; waiting for its end.")
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def _lead(self) -> Endpoint:
        plan = self._plan = await asyncio.to_thread(self._prepare)
        if not await asyncio.to_thread(cluster.is_made, plan.data, plan.binaries):
            self._notify(f"Making a new database in {self._places.home}.")
            await cluster.make(plan.data, plan.account, plan.binaries, plan.password, plan.log)
        last = self._lock.read()
        await self._launch(plan, last.port, last.socket_dir)
        return self.endpoint

    def _prepare(self) -> Plan:
        who = account.choose(self._places.data)
        programs = binaries.find(self._bin_dir, who, self._notify)
        # First of all: a directory which is not ours must not be moved.
        made = cluster.is_made(self._places.data, programs)
        data = places.settle(self._places, who, self._notify)
        password = self._existing_password() if made else places.make_password(self._places)
        return Plan(data, who, programs, self._places.log, password, self._extra)

    async def _launch(self, plan: Plan, port: int, socket_dir: str) -> None:
        """Start Postgres on the last address if that can be had again."""
        self._socket_dir = socket_dir = places.socket_dir(socket_dir, plan.account)
        pause, tries, progress = _FIRST_PAUSE, 0, Progress(self._notify)
        while True:
            await orphans.clear(plan.data)
            try:
                await self._attempt(plan, ports.choose(self._port, port), socket_dir)
            except StillInUse:
                progress.tell("Waiting for what is left of an earlier Postgres to go.")
            except PortTaken:
                tries += 1
                if self._port or tries == _PORT_TRIES:
                    raise
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PATIENT_PAUSE)

    async def _attempt(self, plan: Plan, port: int, socket_dir: str) -> None:
        if self._stopping:
            raise Unavailable("The embedded Postgres is being stopped.")
        self._lock.write(Note(port=port, socket_dir=socket_dir))
        server = self._server = Server(plan, port, socket_dir)
        await server.ready(self._notify)
        self._endpoint = Endpoint(socket_dir, port, plan.password, owned=True)

    async def _until_gone(self) -> None:
        if self._server is not None:
            await self._server.ended()
            return
        while not self._stopping:
            found = pidfile.live(self._places.data)
            if found is None:
                return
            if found.ready and (found.socket_dir, found.port) != self._address():
                self._attach(found)
            await asyncio.sleep(_ATTACHED_POLL_SECONDS)

    def _address(self) -> tuple[str, int]:
        return self.endpoint.socket_dir, self.endpoint.port

    async def _recover(self) -> None:
        if self._server is not None and self._plan is not None:
            self._notify("Postgres died; starting it again.")
            socket_dir, port = self._address()
            await self._launch(self._plan, port, socket_dir)
            self._notify(f"Postgres is back, on port {self.endpoint.port}.")
            return
        if self._lock.acquire():
            self._notify("The process which ran Postgres is gone; taking over.")
            await self._lead_or_let_go()
            return
        found = pidfile.live(self._places.data)
        if found is not None and found.ready:
            self._attach(found)
