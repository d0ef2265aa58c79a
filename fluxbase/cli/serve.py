"""`fluxbase serve`: from the configuration to a server that drains; it must not decide how."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fluxbase.app import demo as demo_data
from fluxbase.app import migrations
from fluxbase.app.backend import open_backend
from fluxbase.app.server import Server, toolbox
from fluxbase.cli import greeting
from fluxbase.cli.allowlists import check_config, every_tool, offered
from fluxbase.cli.settings import common_options, current
from fluxbase.cli.turn import turn
from fluxbase.errors import ConfigError, Unavailable
from fluxbase.http import server as door
from fluxbase.http.protocol import ProtocolLimits
from fluxbase.observe import set_up_logging

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Generator

    from fluxbase.app.backend import Backend
    from fluxbase.cli.settings import Settings
    from fluxbase.config import Config, Loaded

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """What a start was asked for."""

    settings: Settings
    loaded: Loaded
    flags: dict[str, object]
    demo: bool

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
    "--demo",
    is_flag=True,
    help="Put demo data in once, turn MCP on, and print keys, a curl line and a client's JSON.",
)
def serve(host: str | None, port: int | None, demo: bool) -> None:
    """Start the server, and its own Postgres unless database.url is set.

    \b
    Examples:
      fluxbase serve --demo
      fluxbase serve --config /etc/fluxbase.yaml --port 9000
    """
    settings = current()
    wanted = {"server.host": host, "server.port": port, "mcp.enabled": True if demo else None}
    flags: dict[str, object] = {key: value for key, value in wanted.items() if value is not None}
    loaded = settings.load(flags)
    start = Start(settings, loaded, flags, demo)
    _set_up_logging(start, loaded.config)
    check_config(loaded, toolbox(every_tool(loaded.config)))
    try:
        door.run(_serve(start))
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
                server = Server(backend, start.loaded.file, start.flags)

                async def ready() -> None:
                    await starting.aclose()
                    _say_ready(config, greeting.url(listener), keys)

                async with server.running():
                    await _listen(start, server, listener, ready)


async def _listen(
    start: Start, server: Server, listener: socket.socket, ready: Callable[[], Awaitable[None]]
) -> None:
    config = start.config
    # What is there now stays for good: collections that walk it cost more than all they find.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)

    def reload() -> None:
        server.reload()
        _set_up_logging(start, server.config)

    await door.serve(
        server,
        sockets=[listener],
        on_ready=ready,
        on_drain=server.drain,
        on_reload=reload,
        limits=_limits(config),
        drain_timeout=config.server.drain_timeout,
        keep_alive=max(1, round(config.server.keep_alive)),
        trusted_proxies=tuple(str(network) for network in config.server.trusted_proxies),
    )


@contextmanager
def _bound(config: Config) -> Generator[socket.socket]:
    """Take the port before anything else starts, so that a taken one costs nothing."""
    try:
        listener = door.bind(config.server.host, config.server.port)
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


def _limits(config: Config) -> ProtocolLimits:
    server = config.server
    return ProtocolLimits(
        header_timeout=server.header_timeout,
        max_header_bytes=server.max_header_bytes,
        max_headers=server.max_headers,
        max_connections_per_ip=server.max_connections_per_ip,
    )


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
