"""Work stops when its client goes, stays cancellable from outside and leaves no task behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fluxbase.http.disconnect import ClientGone, run_until_disconnect

pytestmark = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)

BOUND = 5.0


class Client:
    """A receive() that reports the disconnect when told to, and counts who asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.watching = asyncio.Event()
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.watching.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


async def forever(started: asyncio.Event, log: list[str]) -> str:
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        log.append("cleaned")
    return "never"


def other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {current()}


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_work_that_is_quick_gives_its_result_and_never_asks_the_client() -> None:
    client = Client()
    before = other_tasks()

    async def work() -> int:
        await asyncio.sleep(0)
        assert other_tasks() == before
        return 7

    assert await run_until_disconnect(work(), client.receive) == 7
    assert client.asked == 0
    assert other_tasks() == before


async def test_work_that_outlives_the_grace_still_gives_its_result() -> None:
    client = Client()
    before = other_tasks()

    async def work() -> str:
        await client.watching.wait()
        return "done"

    async with asyncio.timeout(BOUND):
        assert await run_until_disconnect(work(), client.receive, grace=0) == "done"
    assert other_tasks() == before


async def test_a_client_that_leaves_stops_the_work_and_its_cleanup_runs() -> None:
    client, started, log = Client(), asyncio.Event(), list[str]()
    before = other_tasks()
    client.left.set()
    async with asyncio.timeout(BOUND):
        with pytest.raises(ClientGone):
            await run_until_disconnect(forever(started, log), client.receive, grace=0)
    assert log == ["cleaned"]
    assert current().cancelling() == 0
    assert other_tasks() == before


async def test_the_task_lives_on_after_its_client_left() -> None:
    client, started = Client(), asyncio.Event()
    client.left.set()
    with pytest.raises(ClientGone):
        await run_until_disconnect(forever(started, []), client.receive, grace=0)
    await asyncio.sleep(0)
    async with asyncio.timeout(BOUND):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("grace", [0.0, 60.0])
async def test_a_cancellation_from_outside_stays_a_cancellation(grace: float) -> None:
    client, started, log = Client(), asyncio.Event(), list[str]()
    before = other_tasks()
    task = asyncio.ensure_future(
        run_until_disconnect(forever(started, log), client.receive, grace=grace)
    )
    async with asyncio.timeout(BOUND):
        await started.wait()
        if grace == 0:
            await client.watching.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert log == ["cleaned"]
    assert other_tasks() == before


async def test_both_at_once_count_as_a_cancellation_from_outside() -> None:
    client, started = Client(), asyncio.Event()
    tasks: list[asyncio.Task[str]] = []

    async def receive() -> dict[str, Any]:
        await started.wait()
        tasks[0].cancel()
        return {"type": "http.disconnect"}

    tasks.append(
        asyncio.ensure_future(run_until_disconnect(forever(started, []), receive, grace=0))
    )
    async with asyncio.timeout(BOUND):
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
    assert client.asked == 0


async def test_a_timeout_around_the_work_stays_a_timeout() -> None:
    client, started = Client(), asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_until_disconnect(forever(started, []), client.receive, grace=0)
    assert current().cancelling() == 0


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    client = Client()
    before = other_tasks()

    async def work() -> None:
        await client.watching.wait()
        raise LookupError

    with pytest.raises(LookupError):
        await run_until_disconnect(work(), client.receive, grace=0)
    assert other_tasks() == before


async def test_work_that_swallows_its_cancellation_keeps_its_result() -> None:
    client = Client()
    client.left.set()

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "kept"
        return "never"

    async with asyncio.timeout(BOUND):
        assert await run_until_disconnect(work(), client.receive, grace=0) == "kept"
    assert current().cancelling() == 0


async def test_a_receive_that_fails_does_not_disturb_the_work() -> None:
    failed = asyncio.Event()

    async def receive() -> dict[str, Any]:
        failed.set()
        raise OSError

    async def work() -> str:
        await failed.wait()
        await asyncio.sleep(0)
        return "done"

    async with asyncio.timeout(BOUND):
        assert await run_until_disconnect(work(), receive, grace=0) == "done"


async def test_cleanup_of_the_work_may_await() -> None:
    client, log = Client(), list[str]()
    client.left.set()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            log.append("rolled back")

    async with asyncio.timeout(BOUND):
        with pytest.raises(ClientGone):
            await run_until_disconnect(work(), client.receive, grace=0)
    assert log == ["rolled back"]
