"""Puts the parts together and keeps them running; readable from top to bottom in one sitting."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbase.app.doctor import judged
from fluxbase.app.fillers import Fillers
from fluxbase.app.lines import Lines, caps, every, kept_going
from fluxbase.app.login import login_hosts, login_routes, open_login, way_in
from fluxbase.app.reload import read_again
from fluxbase.app.rooms import ROOMS, open_files, open_functions, services, toolbox
from fluxbase.app.verifier import token_verifier
from fluxbase.app.workers import Workers
from fluxbase.auth.authenticate import Authenticator
from fluxbase.db.audit_log import AuditLog
from fluxbase.db.listen import Listener
from fluxbase.errors import FluxbaseError
from fluxbase.http.gate import Gate
from fluxbase.http.health import Health
from fluxbase.http.hosts import HostGuard
from fluxbase.http.mcp import McpEndpoint
from fluxbase.http.rest import RestEndpoint
from fluxbase.http.routes import ShortCut, application, routes
from fluxbase.http.streams import Streams
from fluxbase.limits.rate import WINDOW, RateLimiter
from fluxbase.limits.shared import SharedWindows
from fluxbase.mcp.dispatch import Dispatcher
from fluxbase.observe import Observer
from fluxbase.rpc.running import Executions
from fluxbase.storage.blobs import Blobs
from fluxbase.toolkit.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path
    from types import ModuleType

    from starlette.types import ASGIApp, Receive, Scope, Send

    from fluxbase.app.backend import Backend
    from fluxbase.config import Config
    from fluxbase.oauth.service import Service
    from fluxbase.schema.lints import Finding

log = logging.getLogger(__name__)

_CHECKS_LIVE: Final = 1.0
_SWEEPS_FILES: Final = 30.0
_SETTLES: Final = 30.0


@dataclass(frozen=True, slots=True)
class Siblings:
    """What a server has in common with the other workers, of which it is one."""

    counts: int  # the file of the shared rate limits
    findings: tuple[Finding, ...]
    first: bool  # this one does what one of them must do
    metrics: Callable[[], Awaitable[bytes]]
    state: Callable[[], Mapping[str, Any]]


class Server:
    """An ASGI application whose configuration can be replaced while it serves."""

    _app: ASGIApp
    dispatcher: Dispatcher
    gate: Gate

    def __init__(
        self,
        backend: Backend,
        file: Path | None = None,
        flags: Mapping[str, object] | None = None,
        siblings: Siblings | None = None,
        rooms: tuple[ModuleType, ...] = ROOMS,
    ) -> None:
        self._backend = backend
        self._rooms = rooms
        self._siblings = siblings
        self._file = file
        self._flags = flags
        config = backend.config
        self.observer = Observer()
        self.observer.watch(self._gauges)
        self.limiter = RateLimiter(
            config.limits.storage.get_secret_value(),
            per_minute=config.mcp.rate_limit_per_min,
            failed_per_minute=config.auth.failed_per_min,
            on_fallback=self.observer.fallback.inc,
            local=self._shared_windows(),
        )
        self.audit = AuditLog(
            backend.database,
            key=backend.peppers.derive("audit"),
            reads=config.audit.reads,
            retention=config.audit.retention,
            undo_retention=config.audit.undo_retention,
            on_lost=self.observer.audit_lost.inc,
        )
        self.authenticator = Authenticator(
            backend.database,
            backend.peppers,
            live=config.auth.key_cache,
            jwt=config.auth.jwt,
            verifier=token_verifier(config),
        )
        self.lines = Lines(backend.database, backend.peppers, caps(config))
        self._fillers = Fillers(backend.database, config)
        self._executions = Executions(backend.database, config)
        self._jobs = Workers(backend.database, self.authenticator, self.observer)
        self.listener = Listener(
            lambda: backend.database.logins.admin,
            {
                "fluxbase_keys": self._forget_key,
                "fluxbase_catalog": self._forget_catalog,
                "fluxbase_sessions": self.lines.hear,
                "fluxbase_grants": self._forget_grants,
                "fluxbase_resources": self._hear_of_resource,
                "fluxbase_embeddings": self._fillers.hear,
                "fluxbase_functions": lambda _: backend.functions.hear(),
                "fluxbase_rpc": self._executions.hear,
                "fluxbase_jobs": self._jobs.hear,
            },
        )
        self.findings: list[Finding] = []
        self.config = config
        self._login: Service | None = None
        self._reload_error: str | None = None
        self._checked: tuple[float, Mapping[str, Mapping[str, Any]]] = (0.0, {})
        self.health = Health(
            self._checks,
            self.observer,
            self._gate(),
            config.metrics.allow_from,
            text=siblings.metrics if siblings else None,
        )
        self.prepare(config)()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve by the configuration that is current when the request arrives."""
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Server]:
        """Keep everything in the background going for as long as the block lasts.

        Raises:
            ConfigError: the linter found unsafe exposure and `database.strict` is set.
        """
        await self._lint(strict=self.config.database.strict)
        await self._check_store()
        background: list[Callable[[], Awaitable[None]]] = [
            self.listener.run,
            self.audit.run if not self._siblings or self._siblings.first else self._keep_records,
            lambda: every(30, self.flush_uses),
            self._backend.database.follow_replicas,
            *self.lines.work(),
            lambda: every(600, self._prune_grants),
            lambda: every(_SWEEPS_FILES, self._sweep_files),
            self._fillers.run,
            lambda: every(_SETTLES, self._executions.settle),
            self._jobs.run,
        ]
        if not self._siblings or self._siblings.first:
            background.append(self._jobs.count)
        background.append(lambda: every(1, self._compare_catalog))
        if not self._backend.announced:
            log.warning("no event trigger: the catalog is compared every second instead")
        if self._backend.postgres is not None:
            background.append(self._backend.postgres.supervise)
        tasks = [asyncio.ensure_future(kept_going(work)) for work in background]
        try:
            yield self
        finally:
            await self._executions.close()
            await self._jobs.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(FluxbaseError):
                await self.flush_uses()
            await self.limiter.close()

    def drain(self) -> None:
        """Say that no new requests should come here."""
        self.health.draining = True
        self._executions.drain(self.config.server.drain_timeout)
        self.lines.hub.end_all()
        self._jobs.drain()

    def reload(self) -> None:
        """Read the configuration again and take it over whole, or keep the old one."""
        self._checked = (0.0, {})
        try:
            self.prepare(read_again(self._file, self._flags, self.config))()
        except FluxbaseError as error:
            self._reload_error = error.message
            self.observer.reloads.labels("failed").inc()
            log.error("the configuration was not reloaded: %s", error.message)  # noqa: TRY400
            return
        self._reload_error = None
        self.observer.reloads.labels("ok").inc()
        log.info("the configuration was reloaded")

    def prepare(self, config: Config) -> Callable[[], None]:
        """Build what a configuration asks for, and return what puts it into force.

        Raises:
            ConfigError: it cannot work; nothing was changed.
        """
        box = toolbox(config, self._rooms)
        verifier = token_verifier(config)
        login = open_login(config, self._backend.database, self._backend.peppers)
        gate = self._gate(login)
        rooms = services(config, self._backend, self._executions, self._jobs.news)
        runner = Runner(box, self._backend.database, self.audit, config.mcp.confirm, rooms)
        tools = RestEndpoint(
            gate,
            runner,
            self.observer,
            base_path=config.mcp.base_path,
            max_size=config.mcp.max_message_size,
            deadline=config.server.request_timeout,
            open_list=config.mcp.open_tools_list,
        )
        dispatcher = Dispatcher(
            runner,
            self.observer,
            self.lines.links,
            deadline=config.server.request_timeout,
            page_size=config.mcp.page_size,
            untrusted_data=config.mcp.untrusted_data,
        )
        endpoint = McpEndpoint(
            gate,
            dispatcher,
            self.observer,
            self.lines.sessions,
            Streams(self.lines.events),
            max_size=config.mcp.max_message_size,
        )
        surface = routes(
            config.mcp.base_path,
            endpoint if config.mcp.enabled else None,
            tools,
            self.health,
            login_routes(login, self.limiter),
            [
                *open_files(config, gate, runner, self.observer, rooms),
                *open_functions(config, gate, runner, self.observer, self._backend),
            ],
        )
        inner = application(surface, config.server.allowed_origins)
        # Pages of allowed origins need the headers that a middleware adds.
        direct = config.mcp.enabled and not config.server.allowed_origins
        app = HostGuard(
            ShortCut(config.mcp.base_path, endpoint, inner) if direct else inner,
            allowed_hosts=(*config.server.allowed_hosts, *login_hosts(login)),
            allowed_origins=config.server.allowed_origins,
        )

        def take() -> None:
            self.limiter.configure(config.mcp.rate_limit_per_min, config.auth.failed_per_min)
            self.authenticator.configure(config.auth.key_cache, config.auth.jwt, verifier)
            self.audit.reads = config.audit.reads
            self.audit.retention = config.audit.retention
            self.audit.undo_retention = config.audit.undo_retention
            self.health.allow_from = config.metrics.allow_from
            self.dispatcher, self.gate = dispatcher, gate
            self.authenticator.bearers = login.bearers if login else None
            self._login = login
            for work in (self._fillers, self._executions):
                work.configure(config)
            self._jobs.configure(config, runner, rooms)
            self.lines.show(dispatcher.lists.seen, box, caps(config))
            self.config = config
            self._app = app
            self._checked = (0.0, {})

        return take

    def _gate(self, login: Service | None = None) -> Gate:
        return Gate(self.authenticator, self.limiter, self.audit, way_in(login))

    def _forget_grants(self, user: str) -> None:
        if self._login is not None:
            self._login.bearers.forget()
        self.lines.hub.key_changed(f"user:{user}" if user else "")

    async def flush_uses(self) -> None:
        """Write down when keys and grants were used last."""
        await self.authenticator.flush_uses()
        if self._login is not None:
            await self._login.bearers.flush_uses()

    async def _prune_grants(self) -> None:
        if self._login is not None:
            await self._login.grants.prune()

    async def _check_store(self) -> None:
        """Say so when files cannot be kept; all the rest works without them."""
        if not self.config.storage.enabled:
            return
        try:
            await self._backend.store.check()
        except FluxbaseError as error:
            log.warning("storage: %s", error.message)

    async def _sweep_files(self) -> None:
        await Blobs(self._backend.database, self._backend.store).sweep()

    def _forget_key(self, key: str) -> None:
        self.authenticator.forget(key)
        self._backend.database.catalog.forget_role(f"key_{key}")
        self.lines.hub.key_changed(key)

    def _hear_of_resource(self, payload: str) -> None:
        self.lines.hear_of_resource(payload)
        self._jobs.news.hear(payload)

    def _forget_catalog(self, _payload: str) -> None:
        self._backend.database.catalog.forget()
        self.lines.hub.catalog_changed()

    async def _compare_catalog(self) -> None:
        # Also while announcements cannot be heard: a catalog that is not told of a change is wrong.
        if not (self._backend.announced and self.listener.connected):
            await self._backend.database.catalog.compare()

    async def _keep_records(self) -> None:
        """Write the records of this worker; another one deletes the old ones of all."""
        try:
            await every(1, self.audit.flush)
        finally:
            await self.audit.flush()

    def _shared_windows(self) -> SharedWindows | None:
        if self._siblings is None:
            return None
        return SharedWindows(self._siblings.counts, WINDOW, on_unlocked=self.observer.fallback.inc)

    async def _lint(self, *, strict: bool) -> None:
        if self._siblings is not None:
            self.findings = list(self._siblings.findings)
            return
        self.findings = await judged(self._backend.database, strict=strict)

    async def _checks(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what readiness depends on; asked of Postgres at most once a second."""
        at, known = self._checked
        if known and time.monotonic() - at < _CHECKS_LIVE:
            return known
        database = await self._check_database()
        checks: dict[str, Mapping[str, Any]] = {
            "database": database,
            "listener": {"ok": True, "connected": self.listener.connected},
            "config": {"ok": True, "reload_error": self._reload_error},
            "exposure": {"ok": True, "findings": [f.as_dict() for f in self.findings]},
        }
        if self._siblings is not None:
            state = dict(self._siblings.state())
            checks["config"] = {"ok": True, "reload_error": state.pop("reload_error", None)}
            checks["workers"] = {"ok": True, **state}
        self._checked = (time.monotonic(), checks)
        return checks

    async def _check_database(self) -> dict[str, Any]:
        try:
            seconds = await self._backend.database.ready()
        except FluxbaseError as error:
            return {"ok": False, "error": error.message}
        return {"ok": True, "ms": round(seconds * 1000, 2)}

    def _gauges(self) -> Iterable[tuple[str, str, str, float]]:
        for state in self._backend.database.states():
            yield "pool_size", "Connections allowed", state.name, state.size
            yield "pool_in_use", "Connections in use", state.name, state.in_use
            yield "pool_waiting", "Callers waiting for a connection", state.name, state.waiting
        pool = self._backend.functions.pool
        yield "function_processes", "Processes of functions", "all", pool.count
        yield "function_processes", "Processes of functions", "busy", pool.busy
