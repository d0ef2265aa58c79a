"""Starts the workers of a server and keeps them going, all alike; it must not serve anything.

A worker is a process of its own with a line to here. What is true of the server as a whole is known
here: its configuration, what all workers counted together, and how many there are.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter

from fluxbase.app import tally
from fluxbase.app.crew import Worker
from fluxbase.app.handover import as_message, config_as_json
from fluxbase.errors import ConfigError, FluxbaseError, Unavailable
from fluxbase.limits.shared import share
from fluxbase.observe import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable

    from fluxbase.app.handover import Orders
    from fluxbase.app.link import Link, Message
    from fluxbase.config import Config

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_STEADY: Final = 30.0  # seconds after which a worker's end is not a failed start
_START: Final = 60.0
_ANSWER: Final = 10.0  # seconds for a worker to build a configuration
_COUNT: Final = 1.0  # seconds for a worker to say what it counted
_PATIENCE: Final = 5.0  # seconds to stop for who is not waited for
_SILENCE: Final = 60.0  # seconds without a word after which a worker hangs: it reports each second
_LOOK: Final = 1.0
_OVERTIME: Final = 10.0  # seconds after the drain timeout until a worker is killed


class Fleet:
    """The parent's side of all workers."""

    def __init__(
        self,
        orders: Orders,
        reread: Callable[[Config], Config],
        on_config: Callable[[Config], None],
    ) -> None:
        """Take what every worker is told, and what reads the configuration again."""
        self._orders = orders
        self._reread = reread
        self._on_config = on_config
        self._counts = share()
        self._numbers = itertools.count(1)
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        self._reload_error: str | None = None
        self._answers: dict[tuple[Worker, int], asyncio.Future[Message | None]] = {}
        self._gone: list[tally.Family] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._observer = Observer()
        self._observer.watch(self._gauges)
        self._restarts = Counter(
            "fluxbase_worker_restarts",
            "Workers started again after their end",
            registry=self._observer.registry,
        )
        self._workers = [Worker(n) for n in range(orders.config.server.workers)]

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> None:
        """Start the workers, and return when all have stopped after a signal.

        Raises:
            FluxbaseError: a worker could not start; none is left then.
        """
        async with self.running() as kept:
            with self._signals():
                await on_ready()
                await asyncio.gather(*kept)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[list[asyncio.Task[None]]]:
        """Keep the workers going for as long as the block lasts.

        Raises:
            FluxbaseError: a worker could not start; none is left then.
        """
        kept = [asyncio.ensure_future(self._keep(worker)) for worker in self._workers]
        beside = [asyncio.ensure_future(work) for work in (self._reload_on_demand(), self._watch())]
        try:
            await self._until_ready(kept)
            yield kept
        finally:
            for task in beside:
                task.cancel()
            await self._end(kept)
            os.close(self._counts)

    async def _until_ready(self, kept: list[asyncio.Task[None]]) -> None:
        async def all_serve() -> None:
            for worker in self._workers:
                await worker.ready.wait()

        everybody = asyncio.ensure_future(all_serve())
        try:
            async with asyncio.timeout(_START):
                await asyncio.wait({everybody, *kept}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise Unavailable(f"the workers were not ready within {_START:.0f} seconds") from None
        finally:
            everybody.cancel()
            await asyncio.wait({everybody})
        for task in kept:
            if task.done():
                task.result()

    @contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        """Let the workers finish; a second signal is passed on too, and means haste."""
        first = not self._stopping.is_set()
        self._stopping.set()
        for worker in self._workers:
            worker.signal(number)
        if first:
            late = self._orders.config.server.drain_timeout + _OVERTIME
            asyncio.get_running_loop().call_later(late, self._kill)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.signal(signal.SIGKILL):
                log.error("worker %d did not stop in time and is killed", worker.number)

    async def _end(self, kept: list[asyncio.Task[None]]) -> None:
        """End what is left, which after a stop in good order is nothing."""
        self._stopping.set()
        for number, seconds in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, None)):
            for worker in self._workers:
                worker.signal(number)
            await asyncio.wait(kept, timeout=seconds)
        await asyncio.gather(*kept, return_exceptions=True)

    async def _keep(self, worker: Worker) -> None:
        """Run one worker, and another one after its end."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = loop.time()
            how = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if not worker.ready.is_set():
                raise worker.failure or Unavailable(f"a worker {how} before it was ready")
            if loop.time() - began > _STEADY:
                pause = _FIRST_PAUSE
            log.error(
                "worker %d (process %d) %s%s; another one starts in %.1f s",
                worker.number,
                worker.pid,
                how,
                f": {worker.failure.message}" if worker.failure else "",
                pause,
            )
            self._restarts.inc()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _watch(self) -> None:
        """Kill workers that hang, so that others take their places."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOK)
            if loop.time() - before > _SILENCE / 2:
                continue  # it was this process that did not run: what they said was not read yet
            for worker in self._workers:
                if worker.link is not None and loop.time() - worker.heard > _SILENCE:
                    log.error(
                        "worker %d (process %d) hangs and is killed", worker.number, worker.pid
                    )
                    worker.signal(signal.SIGKILL)

    async def _run_once(self, worker: Worker) -> str:
        try:
            link = await worker.start(self._counts)
        except Unavailable as error:
            worker.failure = error
            return "did not start"
        first = worker is self._workers[0]
        link.send("start", **as_message(replace(self._orders, first=first)))
        self._tell()
        try:
            while (message := await link.receive()) is not None:
                self._hear(worker, link, message)
        finally:
            how = await worker.ended()
            self._forget(worker)
        return how

    def _forget(self, worker: Worker) -> None:
        self._gone = tally.added([self._gone, tally.lasting(worker.counted)])
        worker.counted = []
        for (asked, _), answer in self._answers.items():
            if asked is worker and not answer.done():
                answer.set_result(None)
        self._tell()

    def _hear(self, worker: Worker, link: Link, message: Message) -> None:
        kind = message["kind"]
        worker.heard = asyncio.get_running_loop().time()
        if kind == "ready":
            worker.took_up()
            self._tell()
        elif kind == "failed":
            failed = ConfigError if message["wrong"] else Unavailable
            worker.failure = failed(message["message"], hint=message["hint"])
        elif kind == "reload":
            self._reload_wanted.set()
        elif kind == "metrics":
            self._begin(self._answer_metrics(link, message["number"]))
        else:
            if kind == "reported":
                worker.counted = message["families"]
            answer = self._answers.get((worker, message["number"]))
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(
        self,
        workers: Iterable[Worker],
        seconds: float,
        kind: str,
        number: int,
        **fields: object,
    ) -> dict[Worker, Message | None]:
        """Return what each worker answers: `None` when it ended, nothing when it is late."""
        answers: dict[Worker, asyncio.Future[Message | None]] = {}
        for worker in workers:
            if worker.link is not None:
                answers[worker] = asyncio.get_running_loop().create_future()
                self._answers[worker, number] = answers[worker]
                worker.link.send(kind, number=number, **fields)
        try:
            if answers:
                await asyncio.wait(answers.values(), timeout=seconds)
        finally:
            for worker in answers:
                del self._answers[worker, number]
        return {worker: answer.result() for worker, answer in answers.items() if answer.done()}

    async def _answer_metrics(self, link: Link, number: int) -> None:
        # Only who serves: one that still starts would keep the answer waiting.
        serving = [worker for worker in self._workers if worker.serving]
        await self._ask(serving, _COUNT, "report", next(self._numbers))
        own = tally.families(self._observer.registry)
        parts = [own, self._gone, *(worker.counted for worker in self._workers)]
        link.send("answer", number=number, text=tally.as_text(tally.added(parts)).decode())

    async def _reload_on_demand(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                fresh = self._reread(self._orders.config)
                await self._put_into_force(fresh)
            except FluxbaseError as error:
                self._reload_error = error.message
                self._observer.reloads.labels("failed").inc()
                log.error("the configuration was not reloaded: %s", error.message)  # noqa: TRY400
            else:
                self._reload_error = None
                self._observer.reloads.labels("ok").inc()
                self._on_config(fresh)
                log.info("the configuration was reloaded")
            self._tell()

    async def _put_into_force(self, fresh: Config) -> None:
        """Let every worker build what a configuration asks for; only when all could, it holds.

        Raises:
            FluxbaseError: one could not; all keep the old one.
        """
        number = next(self._numbers)
        asked = {worker: worker.link for worker in self._workers}
        answers = await self._ask(
            self._workers, _ANSWER, "prepare", number, config=config_as_json(fresh)
        )
        faults = [answer["fault"] for answer in answers.values() if answer and answer["fault"]]
        if any(link and worker not in answers for worker, link in asked.items()):
            faults.append("a worker did not answer in time")
        if faults:
            for link in asked.values():
                if link is not None:
                    link.send("abandon", number=number)
            raise ConfigError(faults[0])
        self._orders = replace(self._orders, config=fresh)
        for worker, link in asked.items():
            if link is not None and worker.link is link:
                link.send("commit", number=number)
            else:  # it came meanwhile, with the old one
                worker.signal(signal.SIGTERM)

    def _tell(self) -> None:
        """Tell every worker how the server is as a whole."""
        state = {
            "wanted": len(self._workers),
            "serving": sum(worker.serving for worker in self._workers),
            "reload_error": self._reload_error,
        }
        for worker in self._workers:
            if worker.link is not None:
                worker.link.send("state", state=state)

    def _gauges(self) -> Iterable[tuple[str, str, str, float]]:
        for name, number in (
            ("wanted", len(self._workers)),
            ("serving", sum(worker.serving for worker in self._workers)),
        ):
            yield "workers", "Processes that serve", name, number
