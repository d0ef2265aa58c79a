"""Lets many callers who ask for the same thing at once wait for one answer; knows no thing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """At most one question of each key is under way."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer to `question`, shared with whoever asks for `key` meanwhile.

        The question goes on when the one who asked first is cancelled: others wait for it.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(question())
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # asked for here, so that nobody has to be left to hear of it
