"""Tells a waiting person now and then what is being waited for; it knows nothing of what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SECONDS = 5.0


class Progress:
    """Passes a sentence on when enough time went by since the last one, or the beginning."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._began = self._told = time.monotonic()

    def tell(self, sentence: str) -> None:
        """Say what is waited for, with the seconds so far."""
        now = time.monotonic()
        if now - self._told >= EVERY_SECONDS:
            self._told = now
            self._notify(f"{sentence} ({now - self._began:.0f} s so far)")
