"""Keeps processes warm, few enough for their memory; it must not know what functions may do.

A process belongs to one version of one function and, unless that is shared, to one caller: what a
call leaves behind is seen by the same caller only. One call at a time runs in it, so a limit ends
nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fluxbase.errors import FluxbaseError, HandlerFailed, Unavailable
from fluxbase.functions.process import Process
from fluxbase.functions.sandbox import find_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fluxbase.config.functions import Functions as Config
    from fluxbase.functions.sandbox import Sandbox

log = logging.getLogger(__name__)

_LOOKS: Final = 0.05  # seconds between looks at what runs
_TIDIES: Final = 5.0
_WAITS: Final = 5.0  # for a process, when there are as many as there may be
_MOST_CALLS: Final = 10_000  # of one process: what it leaks, it leaks so often at most


class Key(NamedTuple):
    """Whose a process is."""

    function: str
    version: int
    caller: str
    secrets: int  # of which time


@dataclass(slots=True, eq=False)
class _Watched:
    process: Process
    began: float  # in processor time of the process
    cpu: float


class Pool:
    """The processes of one server process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._most = max(1, config.total_memory // config.memory)
        self._sandbox: Sandbox | None = None
        self._finding: asyncio.Task[Sandbox] | None = None
        self._idle: OrderedDict[Process, Key] = OrderedDict()
        self._spare: deque[Process] = deque()
        self._starting = 0  # of the spare ones
        self._awaited = 0
        self._arrival = asyncio.Event()
        self._count = 0
        self._free = asyncio.Condition()
        self._watched: set[_Watched] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._tended: list[asyncio.Task[None]] = []

    @property
    def count(self) -> int:
        """Return how many processes there are."""
        return self._count

    @property
    def busy(self) -> int:
        """Return how many of them run a call."""
        return len(self._watched)

    async def sandbox(self) -> Sandbox:
        """Return how functions are started here.

        Raises:
            NoSandbox: they cannot be.
        """
        if self._sandbox is not None:
            return self._sandbox
        if self._finding is None or self._finding.done():
            # In a task of its own: the first call may be given up, the others wait for it too.
            self._finding = asyncio.ensure_future(self._find())
        return await asyncio.shield(self._finding)

    async def _find(self) -> Sandbox:
        found = self._sandbox = await find_sandbox(self._config)
        if not self._closed:
            self._tended = [
                asyncio.ensure_future(self._watch()), asyncio.ensure_future(self._tidy())
            ]  # fmt: skip
        return found

    @asynccontextmanager
    async def lend(
        self, key: Key, load: Callable[[Process], Awaitable[None]]
    ) -> AsyncGenerator[Process]:
        """Lend a process that has the function loaded; one whose block fails is ended.

        Args:
            key: whose it is.
            load: gives the function to a process that has none yet.

        Raises:
            Unavailable: there are too many calls at the time, or functions cannot run here.
            HandlerFailed: no process starts, or the function does not load.
        """
        sandbox = await self.sandbox()
        process = self._take_idle(key)
        fresh = process is None
        if process is None:
            process = await self._new(sandbox)
        watched = _Watched(process, process.cpu(), self._config.cpu_time)
        self._watched.add(watched)
        process.begin()
        try:
            if fresh:
                await load(process)
                # Not earlier: what starts beside it would hold it up.
                self._soon(self._replenish(sandbox))
            yield process
        except BaseException:
            self._watched.discard(watched)
            await self._end(process)
            raise
        self._watched.discard(watched)
        if process.alive and process.calls < _MOST_CALLS and not self._closed:
            await self._give_back(process, key)
        else:
            await self._end(process)

    def forget(self, known: Callable[[Key], bool]) -> None:
        """End the waiting processes that are not known any more."""
        for process, key in list(self._idle.items()):
            if not known(key):
                del self._idle[process]
                self._soon(self._end(process))

    async def close(self) -> None:
        """End everything."""
        self._closed = True
        if self._finding is not None:
            await asyncio.gather(self._finding, return_exceptions=True)
        for task in self._tended:
            task.cancel()
        await asyncio.gather(*self._tended, return_exceptions=True)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in [*self._idle, *self._spare, *(w.process for w in self._watched)]:
            await self._end(process)
        self._idle.clear()
        self._spare.clear()

    def _take_idle(self, key: Key) -> Process | None:
        # The one used last: it is the warmest, and the others may grow old.
        for process in reversed(self._idle):
            if self._idle[process] == key:
                del self._idle[process]
                if process.alive:
                    return process
                self._soon(self._end(process))
                return self._take_idle(key)
        return None

    async def _new(self, sandbox: Sandbox) -> Process:
        if not self._spare and self._awaited < self._starting:
            # One that starts already is there sooner than one that starts beside it.
            self._awaited += 1
            try:
                await self._arrival.wait()
            finally:
                self._awaited -= 1
        if self._spare:
            process = self._spare.popleft()
            if process.alive:
                return process
            await self._end(process)
        await self._make_room()
        return await self._start(sandbox)

    async def _make_room(self) -> None:
        """Count one process more, and let one go that only waits if there are too many."""
        try:
            async with asyncio.timeout(_WAITS), self._free:
                await self._free.wait_for(self._has_room)
                self._count += 1
        except TimeoutError:
            raise Unavailable("too many functions run at the moment", retry_after=1) from None

    def _has_room(self) -> bool:
        if self._count < self._most:
            return True
        if self._idle:
            process, _ = self._idle.popitem(last=False)
            self._soon(self._end(process))
        elif self._spare:
            self._soon(self._end(self._spare.pop()))
        return False

    async def _start(self, sandbox: Sandbox) -> Process:
        """Start a process that was counted already."""
        longest = max(self._config.max_request, self._config.max_response)
        starting = asyncio.ensure_future(Process.start(sandbox.run(self._config.memory), longest))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._soon(self._unwanted(starting))
            raise
        except BaseException:
            self._soon(self._leave())
            raise

    async def _unwanted(self, starting: asyncio.Task[Process]) -> None:
        # Killed before it is there, bubblewrap may leave Deno behind: without a parent, uncounted.
        try:
            process = await starting
        except BaseException:
            await self._leave()
            raise
        await self._end(process)

    async def _give_back(self, process: Process, key: Key) -> None:
        process.rest()
        self._idle[process] = key
        async with self._free:
            self._free.notify_all()

    async def _end(self, process: Process) -> None:
        await asyncio.shield(self._ended(process))

    async def _ended(self, process: Process) -> None:
        await process.end()
        await self._leave()

    async def _leave(self) -> None:
        async with self._free:
            self._count -= 1
            self._free.notify_all()

    async def _replenish(self, sandbox: Sandbox) -> None:
        """Start processes ahead, as long as nobody else needs the room."""
        while not self._closed and len(self._spare) + self._starting < self._config.spare:
            if self._count >= self._most:
                if len(self._idle) <= self._config.spare:
                    return
                # A process for whoever comes is worth more than the one that waited longest.
                process, _ = self._idle.popitem(last=False)
                await self._end(process)
                continue
            self._count += 1
            self._starting += 1
            self._arrival.clear()
            try:
                process = await self._start(sandbox)
                if self._closed:
                    await self._end(process)
                else:
                    self._spare.append(process)
            except FluxbaseError:
                return  # whoever needs one is told
            finally:
                self._starting -= 1
                self._arrival.set()

    async def _watch(self) -> None:
        """End what uses more than it may."""
        while True:
            await asyncio.sleep(_LOOKS)
            for watched in list(self._watched):
                self._look(watched)

    def _look(self, watched: _Watched) -> None:
        process = watched.process
        if process.memory() > self._config.memory:
            process.stop("it used more memory than it may")
        elif process.cpu() - watched.began > watched.cpu:
            process.stop("it used more processor time than it may")

    async def _tidy(self) -> None:
        """End what waits too long, and keep some ready."""
        while True:
            assert self._sandbox is not None  # noqa: S101
            with suppress(FluxbaseError):
                await self._replenish(self._sandbox)
            await asyncio.sleep(min(_TIDIES, self._config.idle))
            late = time.monotonic() - self._config.idle
            for process in list(self._idle):
                # Also one that grew or ended while nobody called it.
                if process.used < late or not process.alive or self._is_large(process):
                    self._idle.pop(process, None)
                    await self._end(process)

    def _is_large(self, process: Process) -> bool:
        return process.memory() > self._config.memory

    def _soon(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except HandlerFailed:
        pass
    except Exception:
        log.exception("a process for functions was not tidied up")
