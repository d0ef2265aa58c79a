"""Runs jobs by the configuration in force, and counts them; it must not know what they do."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbase.app.vouch import Voucher
from fluxbase.errors import FluxbaseError
from fluxbase.jobs.attempt import Means
from fluxbase.jobs.news import News
from fluxbase.jobs.worker import Terms, Worker
from fluxbase.toolkit.handlers import Handlers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbase.auth.authenticate import Authenticator
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.jobs.endings import Written
    from fluxbase.observe import Observer
    from fluxbase.toolkit.runner import Runner

_COUNTS_EVERY: Final = 10.0
_GAUGES: Final = {
    "waiting": ("jobs_waiting", "Jobs that are due and wait for a worker"),
    "seconds": ("jobs_oldest_seconds", "For how long the oldest of them has been due"),
    "running": ("jobs_running", "Jobs that run"),
    "failed": ("jobs_dead", "Jobs that failed for good and are kept"),
}


class Workers:
    """The background work of one server process on all queues."""

    def __init__(
        self, database: Database, authenticator: Authenticator, observer: Observer
    ) -> None:
        self.news = News()
        self._database = database
        self._vouch = Voucher(database, authenticator).vouch
        self._observer = observer
        self._means: Means | None = None
        self._terms: Terms | None = None
        self._enabled = False
        self._drain_timeout = 0.0
        self._draining: float | None = None
        self._changed = asyncio.Event()
        self._worker: Worker | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._counts: list[Record] = []
        observer.watch(self._gauges)

    def hear(self, payload: str) -> None:
        """Take in what is announced of queues and jobs."""
        if self._worker is not None:
            self._worker.hear(payload)

    def configure(self, config: Config, runner: Runner, services: Mapping[type, object]) -> None:
        """Go on by another configuration; jobs that run already finish by the old one."""
        jobs, handlers = config.jobs, services[Handlers]
        assert isinstance(handlers, Handlers)  # noqa: S101 - they are kept by their type
        self._means = Means(
            self._database, runner, handlers, self._vouch, jobs.backoff, jobs.max_result
        )
        self._drain_timeout = config.server.drain_timeout
        self._enabled = jobs.enabled
        terms = None
        if jobs.enabled and jobs.run_in_server and jobs.queues:
            terms = Terms(
                jobs.queues, jobs.lease, jobs.poll, jobs.max_running_per_key, jobs.retention
            )
        if self._worker is not None:
            self._worker.means = self._means
        if terms != self._terms:
            self._terms = terms
            self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._changed.clear()
            if self._terms is None or self._means is None or self._draining is not None:
                await self._changed.wait()
                continue
            worker = self._worker = Worker(self._means, self._terms, self._count)
            await self._run_until_changed(worker)

    async def count(self) -> None:
        """Keep asking how many jobs there are, until cancelled."""
        while True:
            if self._enabled:
                with suppress(FluxbaseError):
                    self._counts = await self._database.admin("count_jobs")
            await asyncio.sleep(_COUNTS_EVERY)

    def drain(self) -> None:
        """Take no more jobs."""
        if self._draining is None:
            self._draining = time.monotonic()
        if self._worker is not None:
            self._worker.drain()

    async def stop(self) -> None:
        """Let jobs finish for what is left of the time to drain, then hand them back."""
        self.drain()
        began = time.monotonic() if self._draining is None else self._draining
        left = self._drain_timeout - (time.monotonic() - began)
        if self._worker is not None:
            await self._worker.stop(max(left, 0.0))
        if self._retired:
            await asyncio.wait(self._retired, timeout=max(left, 0.0))

    async def _run_until_changed(self, worker: Worker) -> None:
        task = asyncio.ensure_future(worker.run())
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((task, changed), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, *self._retired, return_exceptions=True)
            raise
        finally:
            changed.cancel()
        if task.done():
            await task
        retired = asyncio.ensure_future(self._retire(worker, task))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)

    async def _retire(self, worker: Worker, task: asyncio.Task[None]) -> None:
        await worker.stop(self._drain_timeout)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _count(self, written: Written) -> None:
        self._observer.jobs.labels(written.queue, written.outcome).inc(written.number)
        self._observer.job_seconds.labels(written.queue).inc(written.seconds)

    def _gauges(self) -> Iterable[tuple[str, str, str, float]]:
        for row in self._counts:
            for column, (name, text) in _GAUGES.items():
                yield name, text, row["queue"], float(row[column])
