"""Runs calls of procedures in the background of one server process, and tells how they ended.

Who runs a call promises every few seconds to be heard of again. One that is not heard of any more
has its calls ended by whoever looks next, so none runs for ever. It must not know who asks.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fluxbase.db.audit import told
from fluxbase.errors import Conflict, FluxbaseError, RateLimited, Unavailable
from fluxbase.rpc import call
from fluxbase.strict_json import in_order
from fluxbase.toolkit.client import DEAF

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from fluxbase.config.model import Config
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record as Row
    from fluxbase.rpc.answers import Given
    from fluxbase.rpc.procedures import Procedure
    from fluxbase.toolkit import Context

log = logging.getLogger(__name__)

LEASE: Final = 20.0
_BEAT: Final = 5.0
_PATIENCE: Final = 10.0  # seconds that a cancelled call has to end in
_LOOKS: Final = 2.0  # seconds after which somebody who waits looks by himself
_TRIES: Final = 10
_CANCELLED: Final = "the call was cancelled"


class Begun(NamedTuple):
    """A call in the background, and whether it was begun by an earlier call with its key."""

    id: str
    known: bool


@dataclass(slots=True, eq=False)
class _Running(call.Record):
    """A call that runs: its row is there from its beginning."""

    task: asyncio.Task[None] | None = field(default=None)

    async def keep(self, status: str, error: str | None, given: Given | None) -> None:
        """Write how it ended: cancelled or not, what is known by now must be told."""
        writing = asyncio.ensure_future(self._write(status, error, given))
        while not writing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((writing,))

    async def _write(self, status: str, error: str | None, given: Given | None) -> None:
        for _ in range(_TRIES):
            try:
                await self.ctx.database.admin(
                    "finish_execution",
                    id=self.id,
                    status=status,
                    error=error,
                    rows=None if given is None else given.rows,
                    truncated=None if given is None else given.truncated,
                    data=None if given is None else given.data,
                )
            except FluxbaseError:
                await asyncio.sleep(1)
            else:
                return
        log.error("it could not be kept how an execution ended")

    def end(self, reason: str) -> None:
        """Stop it, unless it is being committed."""
        self.reason = reason
        if self.task is not None:
            self.task.cancel()


class Executions:
    """The calls that one server process runs in the background; they outlive its configuration."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._running: dict[str, _Running] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._beating: asyncio.Task[None] | None = None
        self._until: float | None = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on by another configuration."""
        self._rules, self._pools = config.rpc, config.database
        # An answer that a client waits for must come before its request is cut off.
        self.longest_wait = max(0.0, config.server.request_timeout - 2)

    async def start(
        self, ctx: Context, procedure: Procedure, params: Mapping[str, Any], key: str | None
    ) -> Begun:
        """Begin a call in the background, or find the one that was begun with the same key.

        Raises:
            Conflict: the key was used for another call.
            RateLimited: the caller has as many running as it may have.
            Unavailable: this server runs as many as it may, or is about to stop.
            FluxbaseError: a parameter is wrong.
        """
        call.check(procedure, params)
        self._admit(ctx)
        run = _Running(ctx, procedure, begun=True)
        self._running[run.id] = run
        try:
            begun = await self._begin(run, key)
        except BaseException as error:
            del self._running[run.id]
            if isinstance(error, asyncio.CancelledError):
                await run.fail(error)  # it may have been kept that it runs
            raise
        if begun.known:
            del self._running[run.id]
            return begun
        run.task = asyncio.create_task(self._run(run, params, key or _own_key(run.id)))
        run.task.add_done_callback(lambda _: self._ended(run))
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())
        return begun

    async def cancel(self, execution: str) -> None:
        """Have a call ended, whichever server runs it."""
        here = self._running.get(execution)
        if here is not None:
            here.end(_CANCELLED)
        await self._database.admin("cancel_execution", id=execution)

    @contextmanager
    def watched(self, execution: str) -> Generator[asyncio.Event]:
        """Yield what is set when there may be news of a call."""
        news = asyncio.Event()
        self._waiting.setdefault(execution, set()).add(news)
        try:
            yield news
        finally:
            waiting = self._waiting[execution]
            waiting.discard(news)
            if not waiting:
                del self._waiting[execution]

    @staticmethod
    async def news(event: asyncio.Event, seconds: float) -> None:
        """Wait for news, for no longer than it takes until one looks again anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _LOOKS)):
                await event.wait()

    def hear(self, payload: str) -> None:
        """Take in what servers announce; nothing said means that something was missed."""
        what, _, execution = payload.partition(" ")
        if what == "cancel" and execution in self._running:
            self._running[execution].end(_CANCELLED)
        for one in [execution] if payload else list(self._waiting):
            for event in self._waiting.get(one, ()):
                event.set()

    def drain(self, seconds: float) -> None:
        """Begin nothing any more; what runs has so much time to end by itself."""
        self._until = asyncio.get_running_loop().time() + seconds

    async def close(self) -> None:
        """Wait for what runs as long as it has time, then cancel it, and keep that."""
        loop = asyncio.get_running_loop()
        self._until = self._until or loop.time()
        tasks = [run.task for run in self._running.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, self._until - loop.time()))
        for run in list(self._running.values()):
            run.end("the server was stopped")
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))

    async def settle(self) -> None:
        """End what other servers left behind, and forget answers that are old."""
        with suppress(FluxbaseError):
            await self._database.admin("settle_executions")

    async def join(self, execution: str) -> None:
        """Wait until a call that runs in this process has ended."""
        run = self._running.get(execution)
        if run is not None and run.task is not None:
            await asyncio.wait((run.task,))

    def _admit(self, ctx: Context) -> None:
        if self._until is not None:
            raise Unavailable("this server is about to stop")
        service = ctx.who.is_service
        pool = self._pools.service_pool_size if service else self._pools.client_pool_size
        alike = sum(run.ctx.who.is_service == service for run in self._running.values())
        # Whoever waits for an answer must not wait for those who do not.
        if len(self._running) >= self._rules.max_running or alike >= max(1, pool // 2):
            raise Unavailable(
                "as many procedures run in the background as may at a time", retry_after=5
            )

    async def _begin(self, run: _Running, key: str | None) -> Begun:
        ctx, most = run.ctx, self._rules.max_running_per_key
        [row] = await self._database.admin(
            "begin_execution",
            id=run.id,
            namespace=run.procedure.namespace,
            name=run.procedure.name,
            holder=ctx.who.owner,
            reader=ctx.who.holder,
            effect_key=key or _own_key(run.id),
            call_mac=told(ctx.audit_key, in_order(ctx.arguments))[1],
            lease=LEASE,
            most=most,
        )
        if row["outcome"] == "other":
            raise Conflict("idempotency_key: this key was used for another call")
        if row["outcome"] == "full":
            raise RateLimited(
                f"{most} calls of this key run in the background, no more may at a time",
                hint="wait for one by get_rpc_execution, or end one by cancel_rpc_execution",
                retry_after=5,
            )
        return Begun(row["execution"], row["outcome"] == "known")

    async def _run(self, run: _Running, params: Mapping[str, Any], key: str) -> None:
        ctx = run.ctx
        assert ctx.runner is not None  # noqa: S101 - only what has ended has none
        assert ctx.request is not None  # noqa: S101

        async def work(inside: Context) -> None:
            run.ctx = inside
            await call.call(inside, run.procedure, params, key=key, record=run)

        # Nobody listens any more by the time it has something to say.
        request = ctx.request._replace(client=DEAF)
        try:
            await ctx.runner.run(request, ctx.action, ctx.arguments, work)
        except FluxbaseError:
            pass  # it is kept, for whoever asks
        except Exception:
            log.exception("an execution failed")

    def _ended(self, run: _Running) -> None:
        # Also of one that was cancelled before it took its first step.
        self._running.pop(run.id, None)
        self.hear(f"ended {run.id}")

    async def _beat(self) -> None:
        """Promise to be heard of again, for as long as anything runs."""
        while self._running:
            await asyncio.sleep(_BEAT)
            ids = [run.id for run in self._running.values() if run.task is not None]
            with suppress(FluxbaseError):
                await self._renew(ids)

    async def _renew(self, ids: list[str]) -> None:
        rows = await self._database.admin("renew_executions", ids=ids, lease=LEASE)
        known = {row["execution"]: row for row in rows}
        for id_ in ids:
            run = self._running.get(id_)
            reason = None if run is None else _why_end(run, known.get(id_))
            if run is not None and reason is not None:
                run.end(reason)


def _why_end(run: _Running, row: Row | None) -> str | None:
    if row is None:
        return "the server that ran it was not heard of in time"
    if row["cancel_wanted"]:
        return _CANCELLED
    lives = row["key_lives"]  # a user is no key, nor is the command line
    if lives is False or (lives is None and run.ctx.who.kind == "client_key"):
        return "its key is not valid any more"
    return None


def _own_key(execution: str) -> str:
    """Return the key under which a write of a call without a key is found again."""
    return f"rpc/{execution}"
