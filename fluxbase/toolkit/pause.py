"""Waits for a bell or for some time; it must not know who rings.

`asyncio.wait_for` would not do: before Python 3.12 it drops a cancellation that comes at the same
moment as the bell, and then a server that stops would wait forever.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def pause(bell: asyncio.Event, seconds: float) -> None:
    """Return when the bell rings, or after some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await bell.wait()
