"""The pool's book-keeping under any order of taking, giving back, breaking and giving up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbase.db import pool as pools
from fluxbase.db.held import Held, Identity
from fluxbase.db.pool import Pool
from fluxbase.errors import DeadlineExceeded, FluxbaseError, Unavailable

SIZE = 3
PEOPLE = [Identity(f"role {n}", "{}") for n in range(5)]


class Line:
    """A connection without a server: the real ones are in tests/integration."""

    def __init__(self) -> None:
        self.role, self.closed, self.fails = "", False, False
        self.failure: Exception = ConnectionResetError()

    async def execute(self, text: str) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise self.failure
        if text != "SELECT":
            self.role = text.rpartition("set_config('role', ")[2].split("$")[2]

    def is_closed(self) -> bool:
        return self.closed

    def is_in_transaction(self) -> bool:
        return False

    def terminate(self) -> None:
        self.closed = True

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's own signature
        self.closed = True


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    refuse = {"on": False}

    async def connect(*_: Any, **__: Any) -> Line:
        await asyncio.sleep(0)
        if refuse["on"]:
            raise Unavailable("refused")
        return Line()

    monkeypatch.setattr(pools, "connect", connect)
    return refuse


def line(held: Held) -> Line:
    return cast("Line", held.raw)


def made(acquire_timeout: float = 0.02, max_age: float = 60) -> Pool:
    return Pool(
        "",
        name="test",
        size=SIZE,
        settings={},
        acquire_timeout=acquire_timeout,
        connect_timeout=1,
        max_age=max_age,
    )


step = st.tuples(
    st.sampled_from(["take", "bare", "give", "drop", "break", "cancel", "cut", "tick"]),
    st.integers(0, 4),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(step, max_size=60))
def test_whatever_happens_no_slot_is_lost_and_nobody_gets_anothers_line(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(_play(steps))


class Play:
    """One pool, what was taken from it, and who still waits."""

    def __init__(self) -> None:
        self.pool = made()
        self.out: list[Held] = []
        self.waiting: list[asyncio.Task[None]] = []

    async def take(self, who: Identity | None) -> None:
        try:
            held = await (self.pool.acquire(who) if who else self.pool.acquire_bare())
        except FluxbaseError:
            return
        assert held not in self.out
        assert held.identity == who
        assert who is None or line(held).role == who.role
        self.out.append(held)

    def ask(self, word: str, number: int) -> None:
        who = PEOPLE[number] if word == "take" else None
        self.waiting.append(asyncio.ensure_future(self.take(who)))

    def touch(self, word: str, number: int) -> None:
        """Do something to a connection that is out."""
        if not self.out:
            return
        held = self.out[number % len(self.out)]
        if word == "break":
            held.raw.terminate()
            return
        self.out.remove(held)
        (self.pool.release if word == "give" else self.pool.discard)(held)

    async def step(self, word: str, number: int) -> None:
        if word in ("take", "bare"):
            self.ask(word, number)
        elif word == "cancel" and self.waiting:
            self.waiting[number % len(self.waiting)].cancel()
        elif word == "cut":
            self.pool.cut()
        elif word == "tick":
            await asyncio.sleep(0)
        elif word in ("give", "drop", "break"):
            self.touch(word, number)
        assert 0 <= self.pool.in_use <= SIZE
        assert len(self.out) <= self.pool.in_use


async def _play(steps: list[tuple[str, int]]) -> None:
    play = Play()
    for word, number in steps:
        await play.step(word, number)
    failed = await asyncio.gather(*play.waiting, return_exceptions=True)
    assert not [error for error in failed if isinstance(error, Exception)]
    for held in play.out:
        play.pool.release(held)
    assert play.pool.in_use == 0
    assert play.pool.waiting == 0
    everyone = await asyncio.gather(*(play.pool.acquire(PEOPLE[0]) for _ in range(SIZE)))
    assert len(set(map(id, everyone))) == SIZE
    await play.pool.close()


async def test_who_waits_longest_is_served_first_even_before_who_comes_back_at_once() -> None:
    pool = made(acquire_timeout=5)
    held = [await pool.acquire(PEOPLE[0]) for _ in range(SIZE)]
    served: list[int] = []

    async def wait(place: int) -> None:
        one = await pool.acquire(PEOPLE[place])
        served.append(place)
        pool.release(one)

    waiting = [asyncio.ensure_future(wait(place)) for place in (1, 2, 3)]
    await asyncio.sleep(0)
    assert pool.waiting == 3
    pool.release(held.pop())
    again = asyncio.ensure_future(pool.acquire(PEOPLE[0]))
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert served == [1, 2, 3]
    pool.release(await asyncio.wait_for(again, 1))


async def test_the_line_that_rested_longest_is_the_one_taken_from_another() -> None:
    pool = made()
    held = [await pool.acquire(PEOPLE[n]) for n in range(SIZE)]
    for one in (held[1], held[0], held[2]):
        pool.release(one)
    assert await pool.acquire(PEOPLE[4]) is held[1]
    assert await pool.acquire(PEOPLE[0]) is held[0]


async def test_a_waiter_gets_the_slot_of_a_line_that_was_thrown_away() -> None:
    pool = made(acquire_timeout=5)
    held = [await pool.acquire(PEOPLE[0]) for _ in range(SIZE)]
    waiting = asyncio.ensure_future(pool.acquire(PEOPLE[1]))
    await asyncio.sleep(0)
    pool.discard(held[0])
    fresh = await asyncio.wait_for(waiting, 1)
    assert fresh not in held
    assert pool.in_use == SIZE


async def test_a_slot_that_cannot_be_opened_goes_to_the_next_waiter(
    lines: dict[str, bool],
) -> None:
    pool = made(acquire_timeout=5)
    held = [await pool.acquire(PEOPLE[0]) for _ in range(SIZE)]
    waiting = [asyncio.ensure_future(pool.acquire(PEOPLE[1])) for _ in range(2)]
    await asyncio.sleep(0)
    lines["on"] = True
    pool.discard(held[0])
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
    assert [type(a) for a in answers] == [Unavailable, Unavailable]
    assert pool.in_use == SIZE - 1


async def test_an_old_line_is_replaced_whether_it_worked_or_rested() -> None:
    pool = made(max_age=-1)
    first = await pool.acquire(PEOPLE[0])
    pool.release(first)
    second = await pool.acquire(PEOPLE[0])
    assert second is not first
    pool.release(second)
    pool = made()
    rested = [await pool.acquire(PEOPLE[n]) for n in range(SIZE)]
    for one in rested:
        pool.release(one)
        one.born -= 61
    assert await pool.acquire(PEOPLE[0]) not in rested
    assert await pool.acquire(PEOPLE[4]) not in rested
    assert pool.in_use == 2


async def test_a_time_limit_that_was_left_behind_is_nobody_else_s() -> None:
    pool = made()
    spoiled = [await pool.acquire(PEOPLE[n]) for n in range(SIZE)]
    for held in spoiled:
        pool.release(held)
        line(held).fails, line(held).failure = True, asyncpg.QueryCanceledError("too late")
    found = await pool.acquire(PEOPLE[4])
    assert found not in spoiled
    assert line(found).role == "role 4"
    await asyncio.sleep(0)
    # The place of the first one was free at once, and none of the others is tried in it.
    assert [line(held).closed for held in spoiled] == [True, False, False]
    assert pool.in_use == 1


async def test_a_new_line_that_takes_too_long_to_switch_is_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: Any, **__: Any) -> Line:
        made = Line()
        made.fails, made.failure = True, asyncpg.QueryCanceledError("too late")
        return made

    monkeypatch.setattr(pools, "connect", connect)
    pool = made()
    with pytest.raises(DeadlineExceeded):
        await pool.acquire(PEOPLE[0])
    assert pool.in_use == 0


async def test_a_switch_that_fails_costs_the_line_and_says_so() -> None:
    pool = made()
    held = await pool.acquire(PEOPLE[0])
    line(held).fails = True
    pool.release(held)
    for _ in range(SIZE - 1):
        await pool.acquire(PEOPLE[1])
    with pytest.raises(Unavailable):
        await pool.acquire(PEOPLE[2])
    assert pool.in_use == SIZE - 1


async def test_nobody_waits_for_a_silent_postgres() -> None:
    pool = made(acquire_timeout=5)
    pool.release(await pool.acquire(PEOPLE[0]))
    pool.silence(silent=True)
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.wait_for(pool.acquire(PEOPLE[0]), 0.5)
    pool.silence(silent=False)
    assert (await pool.acquire(PEOPLE[0])).identity == PEOPLE[0]


async def test_a_closed_pool_turns_everybody_away_and_closes_what_comes_back() -> None:
    pool = made(acquire_timeout=5)
    held = [await pool.acquire(PEOPLE[0]) for _ in range(SIZE)]
    pool.release(held[2])
    waiting = [asyncio.ensure_future(pool.acquire(PEOPLE[n])) for n in (1, 2)]
    await asyncio.sleep(0)
    await pool.close()
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
    assert isinstance(answers[1], Unavailable)
    with pytest.raises(Unavailable, match="shutting down"):
        await pool.acquire(PEOPLE[0])
    pool.release(held[0])
    await asyncio.sleep(0.01)
    assert held[0].raw.is_closed()
