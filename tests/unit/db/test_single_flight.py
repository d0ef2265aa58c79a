"""Many who ask at once cost one question, and nobody's cancellation is another's."""

from __future__ import annotations

import asyncio

import pytest

from fluxbase.db.single_flight import SingleFlight


async def test_those_who_ask_meanwhile_share_one_answer() -> None:
    flight: SingleFlight[int] = SingleFlight()
    asked = 0
    go = asyncio.Event()

    async def question() -> int:
        nonlocal asked
        asked += 1
        await go.wait()
        return asked

    callers = [asyncio.ensure_future(flight.ask("x", question)) for _ in range(20)]
    await asyncio.sleep(0)
    callers[0].cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert [await caller for caller in callers[1:]] == [1] * 19
    assert await flight.ask("x", question) == 2


async def test_a_failure_is_everybodys_and_the_next_asks_anew() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fails() -> int:
        raise KeyError

    async def works() -> int:
        return 1

    answers = await asyncio.gather(
        flight.ask("x", fails), flight.ask("x", fails), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [KeyError, KeyError]
    assert await flight.ask("x", works) == 1
