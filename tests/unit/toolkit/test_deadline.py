"""A deadline ends what takes too long, and mistakes nobody else's cancellation for its own."""

from __future__ import annotations

import asyncio

import pytest

from fluxbase.toolkit.deadline import Deadline, Deadlines


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_quick_work_is_left_alone() -> None:
    with Deadline(soon(5)):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_slow_work_ends_in_a_timeout_and_the_task_lives_on() -> None:
    with pytest.raises(TimeoutError), Deadline(soon(0.01)):
        await asyncio.sleep(5)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_deadline_that_is_past_ends_the_work_at_its_first_wait() -> None:
    with pytest.raises(TimeoutError), Deadline(soon(-1)):
        await asyncio.sleep(5)


async def test_an_error_of_the_work_stays_what_it_is() -> None:
    with pytest.raises(KeyError), Deadline(soon(5)):
        raise KeyError


@pytest.mark.parametrize("among_others", [False, True])
async def test_a_cancellation_from_outside_stays_one(among_others: bool) -> None:
    async def work() -> None:
        with Deadlines(5).start() if among_others else Deadline(soon(5)):
            await asyncio.sleep(5)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_meets_the_deadline_wins() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        with Deadline(soon(0)):
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(5)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(work())


async def test_outside_of_a_task_there_is_nothing_to_end() -> None:
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            Deadline(soon(1)).__enter__()
        except RuntimeError as error:
            failed.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await asyncio.sleep(0.01)
    assert len(failed) == 1


async def test_deadlines_of_one_length_end_what_takes_too_long_and_nothing_else() -> None:
    deadlines = Deadlines(0.05)
    ended: list[int] = []

    async def work(number: int, seconds: float) -> None:
        try:
            with deadlines.start():
                await asyncio.sleep(seconds)
        except TimeoutError:
            ended.append(number)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    await asyncio.gather(*(work(n, 5 if n % 2 else 0) for n in range(10)))
    assert ended == [1, 3, 5, 7, 9]
    await work(11, 5)  # the timer is set again for who comes later
    assert ended[-1] == 11


async def test_a_deadline_that_begins_later_ends_later() -> None:
    deadlines = Deadlines(0.1)
    ended: list[str] = []

    async def work(name: str) -> None:
        with pytest.raises(TimeoutError), deadlines.start():
            await asyncio.sleep(5)
        ended.append(name)

    first = asyncio.ensure_future(work("first"))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(work("second"))
    await first
    assert ended == ["first"]
    assert not second.done()
    await second
