"""A time limit for every call; it must not know what is limited.

The same promise as `asyncio.timeout_at`, at half its cost: one timer, no state machine. It cannot
be rescheduled and is used once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """`with Deadline(until):` cancels the work inside at `until` and raises `TimeoutError`.

    A cancellation from outside stays one, even when it meets the deadline.
    """

    __slots__ = ("_before", "_expired", "_task", "_timer", "_until")

    def __init__(self, until: float) -> None:
        self._until = until
        self._expired = False

    def __enter__(self) -> None:
        """Start the timer, by the clock of the running loop."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs to run in a task")
        self._task = task
        self._before = task.cancelling()
        self._timer = task.get_loop().call_at(self._until, self._expire)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the timer, and turn its own cancellation into `TimeoutError`.

        Raises:
            TimeoutError: the deadline came first.
        """
        self._timer.cancel()
        if not self._expired:
            return
        ours = self._task.uncancel() <= self._before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
