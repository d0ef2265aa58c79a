"""Reads of one identity on one connection: sent together, answered in their order.

Postgres runs them one after another, each in a transaction of its own. It must not know which reads
go together, nor what becomes of one that a batch cannot answer.

Source: PostgreSQL documentation, "Pipelining" in Frontend/Backend Protocol.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from fluxbase.db import messages
from fluxbase.db.errors import is_lost
from fluxbase.db.messages import AFTER_ROW, BEFORE_ROW, HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluxbase.db.line import Line, Prepared
    from fluxbase.db.messages import Row

_IDLE: Final = ord("I")  # no transaction is open
_TO_SIZE: Final = len(BEFORE_ROW)
# The statement is to be prepared anew, which the driver knows how to do.
_STALE: Final = (asyncpg.InvalidCachedStatementError, asyncpg.InvalidSQLStatementNameError)


class Read(NamedTuple):
    """A read that waits for its row, for Postgres' error, or for word to go alone (`None`)."""

    text: str
    bound: bytes  # its values, see `messages.values`
    pace: float  # seconds that it is expected to take
    row: asyncio.Future[Row | None]


class Batch(asyncio.Protocol):
    """Takes a line over for as long as its reads take; then `ended` is called, once.

    A row whose first column is not `role` goes to nobody.
    """

    def __init__(
        self, line: Line, role: str, reads: list[Read], ended: Callable[[Batch], None]
    ) -> None:
        self.line = line
        self.reads = reads
        self.answered = 0
        # Whether the driver may go on speaking on the line, and whether there still is one.
        self.sound, self.lost = True, False
        self.unreadable: set[str] = set()  # texts of those whose columns only the driver reads
        self._role, self._first = role, messages.sized(role.encode())
        self._ended = ended
        self._over = False
        self._driver: Any = line.transport.get_protocol()
        self._prepared: list[Prepared] = []
        # What was heard of the read that Postgres is at.
        self._row: Row | None = None
        self._error: asyncpg.PostgresError | None = None
        # What has come of a message that is not whole yet, and how much it lacks at least.
        self._parts: list[bytes] = []
        self._missing = 0

    def send(self) -> None:
        """Send every read."""
        saying: list[bytes] = []
        for read in self.reads:
            prepared = self.line.prepared(read.text, saying)
            self._prepared.append(prepared)
            saying.append(messages.run(prepared.name, read.bound))
        transport = self.line.transport
        transport.set_protocol(self)
        transport.write(b"".join(saying))

    def data_received(self, data: bytes) -> None:
        """Read what has come whole, and keep the rest."""
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts = []
        at, size = self._hear_rows(data, 0), len(data)
        while at + HEAD <= size:
            stop = messages.end(data, at)
            if stop > size:
                break
            self._hear(data[at], data, at + HEAD, stop)
            at = self._hear_rows(data, stop)
        if at < size:
            self._parts = [data[at:]]
            self._missing = (messages.end(data, at) if at + HEAD <= size else at + HEAD) - size
        if self.answered == len(self.reads):
            self.sound = self.sound and at == size
            self._end()

    def _hear_rows(self, data: bytes, at: int) -> int:
        """Answer reads that found one row, of which nothing is to be told; return their end."""
        last = len(data) - len(AFTER_ROW)
        while at < last and data.startswith(BEFORE_ROW, at) and self.answered < len(self.reads):
            stop = at + _TO_SIZE + messages.size_at(data, at + _TO_SIZE)[0]
            if not data.startswith(AFTER_ROW, stop):
                break
            self._answer(self._row_at(data, at + _TO_SIZE + 4))
            at = stop + len(AFTER_ROW)
        return at

    def _hear(self, kind: int, data: bytes, at: int, stop: int) -> None:
        if self.answered == len(self.reads):
            self.sound = False  # nothing was asked that this could be about
        elif kind == messages.ROW:
            self._row = self._row or self._row_at(data, at)
        elif kind == messages.READY:
            self.sound = self.sound and data[at] == _IDLE
            self._answer(self._row)
        elif kind == messages.COLUMNS:
            self._prepared[self.answered].columns = messages.columns(data, at)
        elif kind == messages.ERROR:
            self._error = asyncpg.PostgresError.new(messages.fields(data[at:stop]))
        elif kind not in messages.SILENT:
            # A setting of the session that the driver watches has changed, say.
            self.sound = False

    def _row_at(self, data: bytes, at: int) -> Row | None:
        """Return the row of the next read, which begins with how many values it has."""
        columns = self._prepared[self.answered].columns
        if not data.startswith(self._first, at + 2):
            self.sound = False
        elif columns is None:
            self.unreadable.add(self.reads[self.answered].text)
        else:
            return columns.read(self._role, data, at + 2 + len(self._first))
        return None

    def _answer(self, row: Row | None) -> None:
        """Give the read that Postgres was at what it found."""
        read = self.reads[self.answered]
        error = self._error
        if error is not None:
            if self._prepared[self.answered].columns is None or isinstance(error, _STALE):
                self.line.forget(read.text)
            row, self._error = None, None
        self._row = None
        self.answered += 1
        if read.row.done():
            return
        if error is None or isinstance(error, _STALE) or is_lost(error):
            read.row.set_result(row if self.sound else None)
        else:
            read.row.set_exception(error)

    def cut(self) -> None:
        """Break the line off, so that Postgres stops what it is at when it notices."""
        self.sound, self.lost = False, True
        self.line.transport.set_protocol(self._driver)
        self.line.terminate()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver, who finds its connection closed."""
        self.sound, self.lost = False, True
        self._driver.connection_lost(exc)
        self._end()

    def pause_writing(self) -> None:
        """Tell the driver, who sends next."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver, who sends next."""
        self._driver.resume_writing()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self.line.transport.set_protocol(self._driver)
        leave_alone(self.reads[self.answered :])
        self._ended(self)


def leave_alone(reads: Iterable[Read]) -> None:
    """Have reads go alone, whatever Postgres still says to them."""
    for read in reads:
        if not read.row.done():
            read.row.set_result(None)
