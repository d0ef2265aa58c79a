"""Stop work whose client has gone; it must not know what the work is or what it answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its answer was ready; there is no one to answer."""


class _Watch:
    """One request's watcher: a timer first, a task only when the work outlives the grace."""

    def __init__(
        self, receive: Receive, victim: asyncio.Task[Any], goes_on: Callable[[], bool]
    ) -> None:
        self.gone = False
        self._goes_on = goes_on
        self._receive = receive
        self._victim = victim
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen; called by the timer, so never on the fast path."""
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._goes_on():
            return
        self.gone = True
        self._victim.cancel()

    async def stop(self) -> None:
        """End the watcher and wait until it has ended, whatever it was doing."""
        task = self._task
        if task is None:
            return
        task.cancel()
        # wait() and not await: an error of receive() must not replace the result of the work.
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()


async def run_until_disconnect(
    work: Coroutine[Any, Any, T],
    receive: Receive,
    *,
    grace: float = 0.25,
    goes_on: Callable[[], bool] = lambda: False,
) -> T:
    """Await `work` in the current task; raise `ClientGone` if the client leaves before it ends.

    The request body must have been read: from here on `receive` is only asked for the disconnect.
    Work shorter than `grace` seconds is never watched. A cancellation from outside stays one.
    Work that swallows its cancellation keeps its result, and so does work that `goes_on`.
    """
    task = asyncio.current_task()
    if task is None:
        work.close()
        raise RuntimeError("run_until_disconnect needs to run in a task")
    cancelled_before = task.cancelling()
    watch = _Watch(receive, task, goes_on)
    timer = task.get_loop().call_later(grace, watch.start)
    try:
        return await work
    except asyncio.CancelledError:
        # Our own request is taken back in `finally`; one more left over came from outside.
        if watch.gone and task.cancelling() - 1 <= cancelled_before:
            raise ClientGone from None
        raise
    finally:
        timer.cancel()
        if watch.gone:
            task.uncancel()
        await watch.stop()
