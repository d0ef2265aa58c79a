"""Tells those who wait in this process that a job is another than it was; it must not ask why."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

URI: Final = "fluxbase://jobs/"


class News:
    """Who waits for which job."""

    def __init__(self) -> None:
        self._bells: dict[str, set[asyncio.Event]] = {}

    def hear(self, payload: str) -> None:
        """Take in what was announced of resources; nothing said means that something was missed."""
        if not payload:
            for bells in self._bells.values():
                _ring(bells)
        elif self._bells:
            for told in payload.split("\n\n"):
                uri = told.partition("\n")[0]
                _ring(self._bells.get(uri.removeprefix(URI), ()) if uri.startswith(URI) else ())

    @contextmanager
    def of(self, job: str) -> Generator[asyncio.Event]:
        """Yield an event that is set whenever the job changes."""
        bell = asyncio.Event()
        bells = self._bells.setdefault(job, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells and self._bells.get(job) is bells:
                del self._bells[job]


def _ring(bells: set[asyncio.Event] | tuple[()]) -> None:
    for bell in bells:
        bell.set()
