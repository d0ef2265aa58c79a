"""A limit holds exactly, for each caller by itself, and never stands in the way of others."""

from __future__ import annotations

import asyncio

import pytest

from fluxbase.errors import RateLimited
from fluxbase.limits.rate import RateLimiter


def limiter(storage: str = "memory://", per_minute: int = 5) -> tuple[RateLimiter, list[int]]:
    fallbacks: list[int] = []
    made = RateLimiter(
        storage,
        per_minute=per_minute,
        failed_per_minute=2,
        on_fallback=lambda: fallbacks.append(1),
    )
    return made, fallbacks


async def allowed(made: RateLimiter, caller: str, times: int, own: int | None = None) -> int:
    results = await asyncio.gather(
        *(made.count(caller, own) for _ in range(times)), return_exceptions=True
    )
    assert all(isinstance(r, RateLimited) for r in results if isinstance(r, BaseException))
    return sum(not isinstance(r, BaseException) for r in results)


async def test_exactly_the_limit_is_allowed() -> None:
    made, _ = limiter()
    assert await allowed(made, "a", 20) == 5


async def test_callers_are_counted_by_themselves() -> None:
    made, _ = limiter()
    assert await allowed(made, "a", 9) == 5
    assert await allowed(made, "b", 9) == 5


async def test_a_key_of_its_own_limit_has_that() -> None:
    made, _ = limiter()
    assert await allowed(made, "a", 20, own=2) == 2
    assert await allowed(made, "b", 20, own=9) == 9


async def test_the_quota_counts_down_and_says_when_there_is_more() -> None:
    made, _ = limiter()
    left = [(await made.count("a", None)).remaining for _ in range(5)]
    assert left == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        await made.count("a", None)
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 60


async def test_refusals_are_counted_by_address_apart_from_calls() -> None:
    made, _ = limiter()
    await made.count_failure("192.0.2.1")
    await made.count_failure("192.0.2.1")
    with pytest.raises(RateLimited):
        await made.count_failure("192.0.2.1")
    await made.count_failure("192.0.2.2")
    assert await allowed(made, "a", 9) == 5


async def test_a_new_limit_holds_at_once_and_forgets_nothing() -> None:
    made, _ = limiter()
    assert await allowed(made, "a", 3) == 3
    made.configure(per_minute=4, failed_per_minute=2)
    assert (await made.count("b", None)).limit == 4


async def test_without_redis_each_process_counts_for_itself() -> None:
    made, fallbacks = limiter("redis://127.0.0.1:1/0")
    assert await allowed(made, "a", 8) == 5
    assert fallbacks
