"""What a batcher takes for quick: the rules, without a server."""

from __future__ import annotations

import asyncio

from fluxbase.db.batcher import Batcher
from fluxbase.db.held import Held, Identity
from fluxbase.db.sql import Statement, sql

WHO = Identity("role", "{}")
READ = Statement(sql("SELECT 1"))


class NoLines:
    """A source that has nothing to give, and counts who asks."""

    asked = 0

    def take(self, identity: Identity | None, /) -> Held | None:
        assert identity == WHO
        self.asked += 1
        return None

    def release(self, held: Held) -> None:
        raise AssertionError(held)

    discard = release


async def joined(batcher: Batcher, statement: Statement = READ) -> bool:
    """Return whether a read is taken; it goes alone then, for want of a connection."""
    found = batcher.join(WHO, statement)
    if found is not None:
        assert await found is None
    return found is not None


async def test_what_was_never_asked_goes_alone() -> None:
    batcher = Batcher(NoLines())
    assert not await joined(batcher)
    batcher.note(READ.text, 0.0001)
    assert await joined(batcher)


async def test_the_way_to_postgres_and_back_does_not_count() -> None:
    batcher = Batcher(NoLines())
    batcher.note(READ.text, 0.05)
    assert not await joined(batcher)
    batcher.note_trip(0.0498)
    batcher.note(READ.text, 0.05)
    assert await joined(batcher)


async def test_a_trip_that_was_slow_once_is_not_believed_for_good() -> None:
    batcher = Batcher(NoLines())
    for seconds in (0.5, 0.0001):
        batcher.note_trip(seconds)
    batcher.note(READ.text, 0.01)
    assert not await joined(batcher)


async def test_a_read_is_as_quick_as_it_was_at_best_until_it_is_slower_for_long() -> None:
    batcher = Batcher(NoLines())
    batcher.note(READ.text, 0.0001)
    for _ in range(100):
        batcher.note(READ.text, 0.05)
    assert await joined(batcher)
    for _ in range(10_000):
        batcher.note(READ.text, 0.05)
    assert not await joined(batcher)


async def test_the_reads_of_a_batch_share_its_time() -> None:
    batcher = Batcher(NoLines())
    batcher.note(READ.text, 0.01, among=20)
    assert await joined(batcher)


async def test_kinds_that_are_remembered_are_bounded() -> None:
    batcher = Batcher(NoLines())
    for number in range(3_000):
        batcher.note(f"SELECT {number}", 0.0001)
    remembered = [
        await joined(batcher, Statement(sql(f"SELECT {number}")))  # pyright: ignore[reportArgumentType]
        for number in range(10_000)
    ]
    assert 0 < sum(remembered) <= 1024


async def test_a_read_that_is_given_up_before_it_is_sent_is_not_sent() -> None:
    source = NoLines()
    batcher = Batcher(source)
    batcher.note(READ.text, 0.0001)
    given_up = batcher.join(WHO, READ)
    assert given_up is not None
    given_up.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert source.asked == 0
    assert await joined(batcher)
    assert source.asked == 1
