"""A time limit for every call; it must not know what is limited.

The same promise as `asyncio.timeout_at`, at a fraction of its cost: no state machine, and of calls
that all have the same time only the oldest needs a timer. It is used once. While somebody else is
waited for it can be suspended, and whoever gave the call up can withdraw it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

_EARLY: Final = 0.002  # uvloop counts in whole milliseconds and may be one early


class Deadline:
    """`with Deadline(until):` cancels the work inside at `until` and raises `TimeoutError`.

    A cancellation from outside stays one, even when it meets the deadline.
    """

    __slots__ = ("_before", "_queue", "_task", "_timer", "expired", "until", "withdrawn")

    def __init__(self, until: float, queue: Deadlines | None = None) -> None:
        self.until = until
        self.withdrawn = False
        self.expired = False
        self._queue = queue

    def __enter__(self) -> None:
        """Start the time, by the clock of the running loop."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs to run in a task")
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        if self._queue is None:
            self._timer = task.get_loop().call_at(self.until, self.expire)
        else:
            self._queue.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the time, and turn its own cancellation into `TimeoutError`.

        Raises:
            TimeoutError: the deadline came first.
        """
        self._stop()
        if not self.expired:
            return
        ours = self._task.uncancel() <= self._before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the work; called when the time is up."""
        self.expired = True
        self._task.cancel()

    def withdraw(self) -> None:
        """Cancel the work because nobody wants it any more; it ends as if the time were up."""
        if not self.expired:
            self.withdrawn = True
            self.expire()

    @contextmanager
    def suspended(self, most: float) -> Generator[None]:
        """Stop the clock for as long as the block lasts, but for no more than `most` seconds."""
        loop = self._task.get_loop()
        left = self.until - loop.time()
        self._run_until(loop.time() + most)
        try:
            yield
        finally:
            self._run_until(loop.time() + left)

    def _run_until(self, until: float) -> None:
        # Out of the queue, whose deadlines end in the order they began in.
        self._stop()
        self._queue, self.until = None, until
        self._timer = self._task.get_loop().call_at(until, self.expire)

    def _stop(self) -> None:
        if self._queue is None:
            self._timer.cancel()
        else:
            self._queue.drop(self)


class Deadlines:
    """Deadlines of one length, which therefore end in the order they began in: one timer for all.

    It belongs to one loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Deadline:
        """Return a deadline that is `seconds` away."""
        return Deadline(asyncio.get_running_loop().time() + self.seconds, self)

    def add(self, deadline: Deadline) -> None:
        """Watch a deadline that ends no earlier than those before it."""
        self._open[deadline] = None
        if self._timer is None:
            self._arm(deadline.until)

    def drop(self, deadline: Deadline) -> None:
        """Watch it no longer."""
        self._open.pop(deadline, None)

    def _arm(self, at: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + _EARLY
        while self._open:
            first = next(iter(self._open))
            if first.until > now:
                self._arm(first.until)
                return
            del self._open[first]
            first.expire()
