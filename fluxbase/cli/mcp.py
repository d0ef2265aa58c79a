"""`fluxbase mcp`: serves clients of this machine by standard input and output."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from fluxbase.app.backend import open_backend
from fluxbase.app.bridge import Bridge
from fluxbase.app.server import Server
from fluxbase.app.stdio import Stdio
from fluxbase.cli.settings import common_options, current, run_quietly
from fluxbase.cli.turn import turn
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.config import Config


@click.group("mcp", short_help="Serve MCP to clients of this machine.")
def mcp() -> None:
    """Serve MCP to clients of this machine.

    \b
    Example:
      fluxbase mcp stdio --key fbk_q7m2x9ab_…
    """


@mcp.command("stdio")
@common_options
@click.option(
    "--key",
    envvar="FLUXBASE_KEY",
    help="Client or service key.  [env: FLUXBASE_KEY, which other users of the machine cannot see]",
)
@click.option("--url", help="Endpoint of a server elsewhere, instead of serving from here.")
def stdio(key: str | None, url: str | None) -> None:
    """Speak MCP on standard input and output, with the tools that the key may use.

    Without --url the tools run in this process, on the database of the configuration, whether a
    server runs or not.

    \b
    Example:
      fluxbase mcp stdio --url https://db.example.com/mcp
    """
    if not key:
        raise InvalidArgument("--key: a key is needed", hint="fluxbase clientkeys create --help")
    if not key.isascii() or not key.isprintable():
        raise InvalidArgument("--key: this is no key")
    if url is not None:
        if not url.startswith(("https://", "http://")):
            raise InvalidArgument(
                "--url: an address such as https://db.example.com/mcp is expected"
            )
        run_quietly(_bridge(url, key))
        return
    run_quietly(_serve(current().load().config, key))


async def _bridge(url: str, key: str) -> None:
    await Bridge(url, (_header(key), key), _Output().write).serve(_lines())


async def _serve(config: Config, key: str) -> None:
    async with AsyncExitStack() as stack:
        async with turn(config):
            backend = await stack.enter_async_context(
                open_backend(config, migrate=config.migrations.at_start)
            )
        server = await stack.enter_async_context(Server(backend).running())
        client = Stdio(server, (_header(key).lower().encode(), key.encode()), _Output().write)
        await client.recognize()
        await client.serve(_lines())
        server.drain()


def _header(key: str) -> str:
    return "X-Service-Key" if key.startswith("fbs_") else "X-Client-Key"


class _Output:
    """Standard output, a line at a time."""

    def __init__(self) -> None:
        self._turns = threading.Lock()

    async def write(self, message: bytes) -> None:
        # A client that does not read must not hold up the others of its calls.
        await asyncio.to_thread(self._write_line, message)

    def _write_line(self, message: bytes) -> None:
        with self._turns:
            sys.stdout.buffer.write(message + b"\n")
            sys.stdout.buffer.flush()


async def _lines() -> AsyncGenerator[bytes]:
    """Yield the lines of standard input, whatever it is, up to its end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        while line := sys.stdin.buffer.readline():
            loop.call_soon_threadsafe(queue.put_nowait, line)
        loop.call_soon_threadsafe(queue.put_nowait, b"")

    # A daemon: whoever stops the program need not press a key first.
    threading.Thread(target=read, daemon=True, name="stdin").start()
    while line := await queue.get():
        yield line


common_options(mcp)
