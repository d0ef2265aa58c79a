"""`fluxbase serve`: from the configuration to a server that drains; it must not decide how."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fluxbase.app import demo as demo_data
from fluxbase.app import migrations
from fluxbase.app.backend import open_backend, open_database, open_prepared
from fluxbase.app.capacity import capacity
from fluxbase.app.doctor import judged
from fluxbase.app.doorway import open_to
from fluxbase.app.fleet import Fleet
from fluxbase.app.handover import Orders
from fluxbase.app.lines import kept_going
from fluxbase.app.reload import read_again
from fluxbase.app.rooms import toolbox
from fluxbase.app.server import Server
from fluxbase.cli import greeting
from fluxbase.cli.allowlists import check_config, every_tool, offered
from fluxbase.cli.settings import common_options, current
from fluxbase.cli.turn import turn
from fluxbase.config.model import MOST_WORKERS
from fluxbase.errors import ConfigError, Unavailable
from fluxbase.http import server as door
from fluxbase.observe import set_up_logging

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from fluxbase.app.backend import Backend
    from fluxbase.cli.settings import Settings
    from fluxbase.config import Config, Loaded
    from fluxbase.embedded import EmbeddedPostgres

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """What a start was asked for."""

    settings: Settings
    loaded: Loaded
    flags: dict[str, object]
    demo: bool = False
    beside: Callable[[Backend], Awaitable[None]] | None = None  # runs for as long as it serves

    @property
    def config(self) -> Config:
        """The configuration to start with."""
        return self.loaded.config


@click.command(
    epilog="SIGHUP reads the configuration again; SIGTERM finishes what runs, then stops."
)
@common_options
@click.option("--host", metavar="ADDRESS", help="Address to listen on instead of server.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on instead of server.port."
)
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    help="Processes that serve instead of server.workers; limits hold for all together.",
)
@click.option(
    "--demo",
    is_flag=True,
    help="Put demo data in once, turn MCP on, and print keys, a curl line and a client's JSON.",
)
def serve(host: str | None, port: int | None, workers: int | None, demo: bool) -> None:
    """Start the server, and its own Postgres unless database.url is set.

    \b
    Examples:
      fluxbase serve --demo
      fluxbase serve --config /etc/fluxbase.yaml --port 9000
      fluxbase serve --workers 4
    """
    settings = current()
    wanted = {
        "server.host": host,
        "server.port": port,
        "server.workers": workers,
        "mcp.enabled": True if demo else None,
    }
    flags: dict[str, object] = {key: value for key, value in wanted.items() if value is not None}
    loaded = settings.load(flags)
    run(Start(settings, loaded, flags, demo))


def run(start: Start) -> None:
    """Serve until told to stop."""
    loaded = start.loaded
    _set_up_logging(start, loaded.config)
    check_config(loaded, toolbox(every_tool(loaded.config)))
    try:
        door.run(_serve(start) if loaded.config.server.workers == 1 else _serve_by_many(start))
    except asyncio.CancelledError:
        click.echo("stopped before it was ready", err=True)
        raise click.exceptions.Exit(128 + signal.SIGTERM) from None


def _set_up_logging(start: Start, config: Config) -> None:
    set_up_logging("debug" if start.settings.verbose else config.log.level, config.log.format)


async def _serve(start: Start) -> None:
    config = start.config
    with _bound(config) as listener, _stoppable():
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(turn(config))
            async with open_backend(config, migrate=config.migrations.at_start) as backend:
                keys = await _fill(start, backend)
                await _check_capacity(backend)
                server = Server(backend, start.loaded.file, start.flags)

                async def ready() -> None:
                    await starting.aclose()
                    _say_ready(config, greeting.url(listener), keys)

                async with server.running(), _beside(start, backend):
                    await _listen(start, server, listener, ready)


@asynccontextmanager
async def _beside(start: Start, backend: Backend) -> AsyncGenerator[None]:
    if start.beside is None:
        yield
        return
    task = asyncio.ensure_future(start.beside(backend))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _serve_by_many(start: Start) -> None:
    """Do once what a server does once, then let workers serve."""
    config = start.config
    with _bound(config, shared=True) as listener, _stoppable():
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(turn(config))
            async with open_prepared(config, migrate=config.migrations.at_start) as prepared:
                async with open_database(config, prepared) as backend:
                    keys = await _fill(start, backend)
                    await _check_capacity(backend)
                    findings = await judged(backend.database, strict=config.database.strict)
                host, port = listener.getsockname()[:2]
                verbose = start.settings.verbose
                orders = Orders(config, prepared, tuple(findings), (host, port), False, verbose)

                async def ready() -> None:
                    await starting.aclose()
                    log.info("%d workers serve", config.server.workers)
                    _say_ready(config, greeting.url(listener), keys)

                fleet = Fleet(
                    orders,
                    lambda now: read_again(start.loaded.file, start.flags, now),
                    lambda fresh: _set_up_logging(start, fresh),
                )
                async with _supervised(prepared.postgres):
                    await fleet.run(ready)


@asynccontextmanager
async def _supervised(postgres: EmbeddedPostgres | None) -> AsyncGenerator[None]:
    if postgres is None:
        yield
        return
    task = asyncio.ensure_future(kept_going(postgres.supervise))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _check_capacity(backend: Backend) -> None:
    found = await capacity(backend.config, backend.database)
    if found is not None and not found.fits:
        log.warning("%s: %s", found.text, found.fix)


async def _listen(
    start: Start, server: Server, listener: socket.socket, ready: Callable[[], Awaitable[None]]
) -> None:
    def reload() -> None:
        server.reload()
        _set_up_logging(start, server.config)

    await open_to(server, listener, on_ready=ready, on_reload=reload)


@contextmanager
def _bound(config: Config, *, shared: bool = False) -> Generator[socket.socket]:
    """Take the port before anything else starts, so that a taken one costs nothing."""
    server = config.server
    try:
        listener = door.bind(server.host, server.port)
        if shared:
            # Only the first look finds out whether somebody else shares the port out already.
            host, port = listener.getsockname()[:2]
            listener.close()
            listener = door.bind(host, port, reuse_port=True)
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            raise Unavailable(error.message, hint=error.hint) from error
        raise
    with listener:
        yield listener


@contextmanager
def _stoppable() -> Generator[None]:
    """Let SIGTERM end a start in good order, and SIGHUP do nothing until there is a server."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGHUP)


async def _fill(start: Start, backend: Backend) -> demo_data.DemoKeys | None:
    config = start.config
    if config.migrations.at_start:
        owner = backend.database.logins.admin
        for migration in await migrations.up(owner, config.migrations.dir):
            log.info("applied your migration %s_%s", migration.version, migration.name)
    return await demo_data.install(backend) if start.demo else None


def _say_ready(config: Config, url: str, keys: demo_data.DemoKeys | None) -> None:
    path = config.mcp.base_path
    if config.mcp.enabled:
        count = offered(config, toolbox(config))
        log.info("listening on %s; MCP is enabled at %s%s with %d tools", url, url, path, count)
    else:
        log.warning(
            "listening on %s; MCP is not enabled, so %s answers 404: set mcp.enabled: true in "
            "fluxbase.yaml, or FLUXBASE_MCP_ENABLED=true",
            url,
            path,
        )
    if keys is not None:
        click.echo(greeting.demo(url, path, keys))
