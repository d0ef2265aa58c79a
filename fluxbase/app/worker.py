"""One of a server's processes: serves as its parent says; it must not decide anything for all."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from fluxbase.app.backend import open_database
from fluxbase.app.doorway import open_to
from fluxbase.app.handover import config_from_json, from_message
from fluxbase.app.link import Link
from fluxbase.app.server import Server, Siblings
from fluxbase.app.tally import families
from fluxbase.errors import ConfigError, FluxbaseError, Unavailable
from fluxbase.http import server as door
from fluxbase.observe import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.app.handover import Orders
    from fluxbase.app.link import Message
    from fluxbase.config import Config

_REPORTS: Final = 1.0  # seconds between them: what is lost of a worker that is killed
_PATIENCE: Final = 5.0


def main(line: int, counts: int) -> None:
    """Serve until told to stop; both numbers are of files that the parent handed down.

    Args:
        line: the socket to the parent.
        counts: the memory of the shared rate limits.
    """
    # Until there is a server, a reload of it can wait for the parent.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(door.run(_work(socket.socket(fileno=line), counts)))


async def _work(line: socket.socket, counts: int) -> int:
    link = await Link.over(line)
    message = await link.receive()
    if message is None:
        return 1
    orders = from_message(message)
    _set_up_logging(orders, orders.config)
    try:
        await _serve(link, orders, counts)
    except FluxbaseError as error:
        wrong = isinstance(error, ConfigError)
        link.send("failed", message=error.message, hint=error.hint, wrong=wrong)
        await link.flush()
        return 1
    finally:
        link.close()
    return 0


async def _serve(link: Link, orders: Orders, counts: int) -> None:
    async with open_database(orders.config, orders.prepared) as backend:
        talk = _Talk(link, lambda config: _set_up_logging(orders, config))
        siblings = Siblings(
            counts, orders.findings, orders.first, talk.ask_for_metrics, lambda: talk.state
        )
        server = Server(backend, siblings=siblings)
        async with server.running():
            # Bound by each worker, so that the kernel sends nobody to one that is gone.
            listener = door.bind(*orders.address, reuse_port=True)
            listening = asyncio.ensure_future(talk.listen(server))
            reporting = asyncio.ensure_future(talk.report_often(server))
            try:
                await open_to(
                    server,
                    listener,
                    on_ready=lambda: link.send("ready"),
                    on_reload=lambda: link.send("reload"),
                )
            finally:
                listening.cancel()
                reporting.cancel()


def _set_up_logging(orders: Orders, config: Config) -> None:
    set_up_logging("debug" if orders.verbose else config.log.level, config.log.format)


class _Talk:
    """What the parent is asked and told, and what it asks and tells."""

    def __init__(self, link: Link, on_config: Callable[[Config], None]) -> None:
        self.state: Mapping[str, Any] = {}
        self._link = link
        self._on_config = on_config
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._prepared: dict[int, Callable[[], None]] = {}

    async def listen(self, server: Server) -> None:
        """Do what the parent says; when it is gone, finish what runs and stop."""
        while (message := await self._link.receive()) is not None:
            self._hear(server, message)
        os.kill(os.getpid(), signal.SIGTERM)

    async def report_often(self, server: Server) -> None:
        """Tell what was counted, so that it still counts when this process is killed."""
        while True:
            await asyncio.sleep(_REPORTS)
            self._report(server, None)

    async def ask_for_metrics(self) -> bytes:
        """Return the metrics of all workers together.

        Raises:
            Unavailable: the parent does not answer.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._link.send("metrics", number=number)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await answer
        except TimeoutError:
            raise Unavailable("the other workers' metrics are not known") from None
        finally:
            self._asked.pop(number, None)

    def _hear(self, server: Server, message: Message) -> None:
        kind = message["kind"]
        if kind == "state":
            self.state = message["state"]
        elif kind == "report":
            self._report(server, message["number"])
        elif kind == "answer":
            answer = self._asked.get(message["number"])
            if answer is not None and not answer.done():
                answer.set_result(message["text"].encode())
        elif kind == "prepare":
            self._prepare(server, message)
        elif kind == "commit":
            self._prepared.pop(message["number"])()
        else:
            self._prepared.pop(message["number"], None)

    def _prepare(self, server: Server, message: Message) -> None:
        fault: str | None = None
        try:
            config = config_from_json(message["config"])
            take = server.prepare(config)
        except FluxbaseError as error:
            fault = error.message
        else:

            def take_over() -> None:
                take()
                self._on_config(config)

            self._prepared[message["number"]] = take_over
        self._link.send("prepared", number=message["number"], fault=fault)

    def _report(self, server: Server, number: int | None) -> None:
        self._link.send("reported", number=number, families=families(server.observer.registry))
