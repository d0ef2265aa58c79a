"""What a batcher takes for quick: the rules, without a server."""

from __future__ import annotations

import asyncio

import pytest

from fluxbase.db.batcher import Batcher
from fluxbase.db.held import Held, Identity
from fluxbase.db.sql import Statement, sql
from fluxbase.errors import Unavailable

WHO = Identity("role", "{}")
READ = Statement(sql("SELECT 1"))


class NoLines:
    """A source that has nothing to give, counts who asks, and says no in the end."""

    asked = 0

    def take(self, identity: Identity | None, /) -> Held | None:
        assert identity == WHO
        return None

    async def acquire(self, identity: Identity, /) -> Held:
        assert identity == WHO
        self.asked += 1
        await asyncio.sleep(0)
        raise Unavailable("no connection")

    def release(self, held: Held, /) -> None:
        raise AssertionError(held)

    discard = release


async def joined(batcher: Batcher, statement: Statement = READ) -> bool:
    """Return whether a read is taken for a quick one; it gets no connection then."""
    found = batcher.join(WHO, statement)
    if found is not None:
        with pytest.raises(Unavailable):
            await found
    return found is not None


async def test_what_was_never_asked_goes_alone() -> None:
    batcher = Batcher(NoLines())
    assert not await joined(batcher)
    batcher.note(READ.text, 0.0001)
    assert await joined(batcher)


async def test_the_way_to_postgres_and_back_does_not_count() -> None:
    batcher = Batcher(NoLines())
    batcher.note_trip(0.0498)
    batcher.note(READ.text, 0.05)
    assert await joined(batcher)
    for _ in range(20):
        batcher.note(READ.text, 0.052)
    assert await joined(batcher)
    for _ in range(80):
        batcher.note(READ.text, 0.052)
    assert not await joined(batcher)


async def test_a_trip_that_was_slow_once_is_not_believed_for_good() -> None:
    batcher = Batcher(NoLines())
    for seconds in (0.5, 0.0001, 0.5):
        batcher.note_trip(seconds)
    batcher.note(READ.text, 0.01)
    assert not await joined(batcher)


async def test_no_read_is_quicker_than_the_trip() -> None:
    batcher = Batcher(NoLines())
    batcher.note_trip(0.5)
    batcher.note("SELECT 2", 0.0001)
    batcher.note(READ.text, 0.01)
    assert not await joined(batcher)


async def test_the_reads_of_a_batch_share_its_time() -> None:
    batcher = Batcher(NoLines())
    batcher.note_trip(0.0)
    batcher.note(READ.text, 0.01, among=20)
    assert await joined(batcher)


async def test_kinds_that_are_remembered_are_bounded() -> None:
    batcher = Batcher(NoLines())
    for number in range(3_000):
        batcher.note(f"SELECT {number}", 0.0001)
    remembered = [
        await joined(batcher, Statement(sql(f"SELECT {number}")))  # pyright: ignore[reportArgumentType]
        for number in range(3_000)
    ]
    assert 0 < sum(remembered) <= 1024
    batcher.note("SELECT " + "1" * 10_000, 0.0001)
    assert not await joined(batcher, Statement(sql("SELECT " + "1" * 10_000)))  # pyright: ignore[reportArgumentType]


async def test_reads_that_wait_for_a_connection_wait_for_one() -> None:
    source = NoLines()
    batcher = Batcher(source)
    batcher.note(READ.text, 0.0001)
    waiting = [batcher.join(WHO, READ) for _ in range(50)]
    await asyncio.sleep(0)
    waiting += [batcher.join(WHO, READ) for _ in range(50)]  # while the others wait already
    for read in waiting:
        assert read is not None
        with pytest.raises(Unavailable):
            await read
    assert source.asked == 1


async def test_a_read_that_is_given_up_leaves_the_others_waiting() -> None:
    batcher = Batcher(NoLines())
    batcher.note(READ.text, 0.0001)
    first, second = batcher.join(WHO, READ), batcher.join(WHO, READ)
    assert first is not None
    assert second is not None
    first.cancel()
    with pytest.raises(Unavailable):
        await second


async def test_values_that_the_driver_sends_go_alone() -> None:
    batcher = Batcher(NoLines())
    batcher.note(READ.text, 0.0001)
    fit: list[object] = [0, -(2**63), 2**63 - 1, "", "x" * 8_192, None]
    assert await joined(batcher, Statement(READ.text, tuple(fit)))
    unfit: list[object] = [2**63, -(2**63) - 1, True, 1.5, b"x", ["a"], "x" * 8_193, "\ud800"]
    for value in unfit:
        assert not await joined(batcher, Statement(READ.text, (value,)))
    assert not await joined(batcher, Statement(READ.text, (1,) * 257))
