"""Writes down how attempts ended, many in one statement; it must not decide how they did."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

from fluxbase.errors import FluxbaseError, InternalError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Endings:
    """Those of one worker."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Ending, asyncio.Future[str | None]]] = []
        self._bell = asyncio.Event()

    async def write(self, ending: Ending) -> str | None:
        """Return the job's status once it is written; `None` when somebody else has the job."""
        written: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ending, written))
        self._bell.set()
        return await written

    async def run(self) -> None:
        """Write until cancelled; while Postgres is away, what waits goes on waiting."""
        while True:
            await self._bell.wait()
            batch = self._waiting[:_MOST]
            try:
                known = await self._write([ending for ending, _ in batch])
            except Unavailable:
                await asyncio.sleep(_PAUSE)
                continue
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._bell.clear()
            for ending, written in batch:
                if not written.done():
                    written.set_result(known.get(ending.id))

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
