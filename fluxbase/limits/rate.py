"""Counts calls by verified key and refusals by address; it must not know what is called.

In Redis the library `limits` counts, for all servers together; in memory we do, for all workers of
one server. A key is counted only after it was verified, so made-up keys can neither escape the
limit nor use up another key's.
"""

from __future__ import annotations

import logging
import time
from ipaddress import ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from fluxbase.errors import RateLimited
from fluxbase.limits.windows import Hit, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.limits.shared import SharedWindows

log = logging.getLogger(__name__)

WINDOW: Final = 60
_REDIS_TIMEOUT: Final = 0.5


class Quota(NamedTuple):
    """What is left of a caller's calls: `remaining` of `limit`, more in `reset` seconds."""

    limit: int
    remaining: int
    reset: int


class RateLimiter:
    """A moving window of one minute for each caller."""

    def __init__(
        self,
        storage: str,
        *,
        per_minute: int,
        failed_per_minute: int,
        on_fallback: Callable[[], None],
        local: SharedWindows | None = None,
    ) -> None:
        """Count in `storage`; `local` is where processes of one server count without Redis."""
        self._local = local or Windows(WINDOW)
        self._redis = _redis(storage) if _is_redis(storage) else None
        self._shared = MovingWindowRateLimiter(self._redis) if self._redis else None
        self._items: dict[int, RateLimitItemPerMinute] = {}
        self._per_minute = per_minute
        self._failed = self._item(failed_per_minute)
        self._on_fallback = on_fallback
        self._shared_down_until = 0.0

    def configure(self, per_minute: int, failed_per_minute: int) -> None:
        """Change the limits; what was counted so far stays counted."""
        self._per_minute = per_minute
        self._failed = self._item(failed_per_minute)

    async def close(self) -> None:
        """Close the connections to Redis; what is counted afterwards opens new ones."""
        if self._redis is not None:
            # The library has no call for it; the client stands behind its own "bridge".
            client: Any = getattr(self._redis.bridge, "storage")  # noqa: B009
            await client.aclose()

    async def count(self, caller: str, per_minute: int | None) -> Quota:
        """Count one call.

        Args:
            caller: the id of a verified key or user.
            per_minute: the key's own limit, when it has one.

        Raises:
            RateLimited: the caller's window is full.
        """
        most = per_minute or self._per_minute
        if self._shared is None:
            hit = self._local.hit(caller, most)
        else:
            hit = await self._hit(self._item(most), caller)
        if not hit.allowed:
            raise RateLimited(
                f"more than {most} requests in a minute", retry_after=_whole(hit.wait), limit=most
            )
        return Quota(most, hit.remaining, _whole(hit.wait))

    async def count_failure(self, address: str) -> None:
        """Count a refused credential from an address.

        Raises:
            RateLimited: there were too many; valid keys from the same address are not affected.
        """
        hit = await self._hit(self._failed, f"failed/{_network(address)}")
        if not hit.allowed:
            raise RateLimited("too many refused credentials", retry_after=_whole(hit.wait))

    def _item(self, per_minute: int) -> RateLimitItemPerMinute:
        item = self._items.get(per_minute)
        if item is None:
            item = self._items[per_minute] = RateLimitItemPerMinute(per_minute)
        return item

    async def _hit(self, item: RateLimitItemPerMinute, key: str) -> Hit:
        if self._shared is not None and time.monotonic() >= self._shared_down_until:
            try:
                return await _count(self._shared, item, key)
            except Exception as error:  # noqa: BLE001 - whatever Redis' client raises, calls go on
                # Each server then counts for itself, so a limit is never lifted altogether.
                self._shared_down_until = time.monotonic() + 1.0
                self._on_fallback()
                log.warning("shared rate limits are unreachable: %s", type(error).__name__)
        return self._local.hit(key, item.amount)


async def _count(limiter: MovingWindowRateLimiter, item: RateLimitItemPerMinute, key: str) -> Hit:
    allowed = await limiter.hit(item, key)
    stats = await limiter.get_window_stats(item, key)
    return Hit(allowed, stats.reset_time - time.time(), stats.remaining)


def _whole(seconds: float) -> int:
    return min(WINDOW, max(1, ceil(seconds)))


def _network(address: str) -> str:
    """Return the block that one caller is given: of IPv6 the first 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if parsed.version == 4 or mapped is not None:
        return str(mapped or parsed)
    return str(ip_network((parsed, 64), strict=False))


def _is_redis(storage: str) -> bool:
    return storage.startswith(("redis://", "rediss://"))


def _redis(storage: str) -> RedisStorage:
    return RedisStorage(
        f"async+{storage}",
        implementation="redispy",
        socket_timeout=_REDIS_TIMEOUT,
        socket_connect_timeout=_REDIS_TIMEOUT,
    )
