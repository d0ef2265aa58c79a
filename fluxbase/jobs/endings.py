"""Writes down how attempts ended, many in one statement; it must not decide how they did."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

from fluxbase.errors import FluxbaseError, InternalError, Unavailable
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluxbase.db.database import Database

log = logging.getLogger(__name__)

_MOST: Final = 200
_PAUSE: Final = 0.5

Outcome = Literal["completed", "failed", "retry", "back"]


class Ending(NamedTuple):
    """How one attempt ended; `pause` is until the next one."""

    id: str
    fence: int
    outcome: Outcome
    result: str | None = None
    error: FluxbaseError | None = None
    pause: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """Return it as the function `jobs.end_attempts` takes it."""
        error = self.error
        return {
            "id": self.id,
            "fence": self.fence,
            "outcome": self.outcome,
            "result": None if self.result is None else orjson.Fragment(self.result),
            "error": error and {"code": error.code, "message": error.message},
            "pause": self.pause,
        }


class Written(NamedTuple):
    """Attempts of one queue that ended alike, and how many seconds they took in all."""

    queue: str
    outcome: str
    number: int
    seconds: float


class _Item(NamedTuple):
    ending: Ending
    queue: str
    seconds: float


class Endings:
    """Those of one worker; `on_written` is told of them by the batch."""

    def __init__(self, database: Database, on_written: Callable[[Written], None]) -> None:
        self._database = database
        self._on_written = on_written
        self._waiting: list[_Item] = []
        self._bell = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def add(self, ending: Ending, queue: str, seconds: float) -> None:
        """Have it written how an attempt ended that took some seconds."""
        self._waiting.append(_Item(ending, queue, seconds))
        self._settled.clear()
        self._bell.set()

    async def settle(self, seconds: float) -> None:
        """Wait until all is written, but no longer than some seconds."""
        await pause(self._settled, seconds)

    async def run(self) -> None:
        """Write until cancelled; while Postgres is away, what waits goes on waiting."""
        while True:
            await self._bell.wait()
            batch = self._waiting[:_MOST]
            try:
                known = await self._write([item.ending for item in batch])
            except Unavailable:
                await asyncio.sleep(_PAUSE)
                continue
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._bell.clear()
                self._settled.set()
            self._tell(batch, known)

    def _tell(self, batch: Sequence[_Item], known: Mapping[str, str]) -> None:
        told: dict[tuple[str, str], tuple[int, float]] = {}
        for ending, queue, seconds in batch:
            status = known.get(ending.id, "lost")  # by now somebody else has the job
            alike = queue, "retried" if status == "pending" else status
            number, spent = told.get(alike, (0, 0.0))
            told[alike] = number + 1, spent + seconds
        for (queue, outcome), (number, spent) in told.items():
            self._on_written(Written(queue, outcome, number, spent))

    async def _write(self, endings: Sequence[Ending]) -> dict[str, str]:
        text = orjson.dumps([ending.as_row() for ending in endings]).decode()
        try:
            rows = await self._database.admin("end_attempts", found=text, at=None)
        except Unavailable:
            raise
        except FluxbaseError as error:
            return await self._write_apart(endings, error)
        return {row["id"]: row["status"] for row in rows}

    async def _write_apart(self, endings: Sequence[Ending], error: FluxbaseError) -> dict[str, str]:
        """Write them one by one after they failed together, the bad one without its result."""
        known: dict[str, str] = {}
        for ending in endings if len(endings) > 1 else ():
            known |= await self._write([ending])
        [last] = endings if len(endings) == 1 else [None]
        if last is None:
            return known
        if last.result is None:
            log.error("the end of a job could not be written: %s", error.code)
            return known
        bare = Ending(last.id, last.fence, "failed", error=InternalError())
        return await self._write([bare])
