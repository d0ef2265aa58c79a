"""`fluxbase worker`: runs jobs without serving anybody; it must not decide how."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from fluxbase.app.backend import open_backend
from fluxbase.app.doorway import settle
from fluxbase.app.server import Server
from fluxbase.cli.settings import common_options, current
from fluxbase.cli.turn import turn
from fluxbase.errors import ConfigError
from fluxbase.http.server import run
from fluxbase.observe import set_up_logging

if TYPE_CHECKING:
    from fluxbase.config import Config, Loaded

log = logging.getLogger(__name__)


@click.command(
    short_help="Run jobs in a process of their own.",
    epilog="SIGHUP reads the configuration again; SIGTERM finishes what runs, then stops.",
)
@common_options
@click.option(
    "--queues", metavar="NAMES", help="Queues to work off, with commas, instead of jobs.queues."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Jobs of each queue that run at a time, instead of those of jobs.queues.",
)
def worker(queues: str | None, concurrency: int | None) -> None:
    """Run jobs beside servers, on this machine or any other that reaches the database.

    As many as are wanted share the queues. What a job still does when the time to drain
    (server.drain_timeout) is over is handed back, and another worker runs it again.

    \b
    Examples:
      fluxbase worker
      fluxbase worker --queues mail,reports --concurrency 8
    """
    settings = current()
    known = settings.load().config.jobs.queues
    names = [name.strip() for name in queues.split(",") if name.strip()] if queues else list(known)
    flags: dict[str, object] = {
        "jobs.run_in_server": True,
        "jobs.queues": {name: concurrency or known.get(name, 4) for name in names},
    }
    loaded = settings.load(flags)
    if not loaded.config.jobs.enabled:
        raise ConfigError("jobs.enabled: there are no jobs to run while this is false")
    level = "debug" if settings.verbose else loaded.config.log.level
    set_up_logging(level, loaded.config.log.format)
    run(_work(loaded, flags))


async def _work(loaded: Loaded, flags: dict[str, object]) -> None:
    config, stop, loop = loaded.config, asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as starting:
        await starting.enter_async_context(turn(config))
        async with open_backend(config, migrate=config.migrations.at_start) as backend:
            server = Server(backend, loaded.file, flags)
            loop.add_signal_handler(signal.SIGHUP, server.reload)
            async with server.running():
                await starting.aclose()
                settle()
                log.info("working off %s", _told(config))
                await stop.wait()
                log.info("stopping")
                server.drain()


def _told(config: Config) -> str:
    queues = config.jobs.queues
    return ", ".join(f"{name} ({slots} at a time)" for name, slots in queues.items())
