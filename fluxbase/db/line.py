"""A connection that can be lent to a batch of reads; it must not know who speaks on it, or why."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbase.db import messages
from fluxbase.db.types import Connection

if TYPE_CHECKING:
    import asyncio

    from fluxbase.db.messages import Columns

_MOST_PREPARED: Final = 256


@dataclass(slots=True, eq=False)
class Prepared:
    """A statement that Postgres has prepared on a line for batches.

    `columns` is missing until Postgres has told of them.
    """

    name: bytes
    columns: Columns | None = None


class Line(Connection):
    """asyncpg's connection, what batches have prepared on it, and the transport below it.

    The driver knows nothing of what is said while its transport listens to another protocol. What
    the line holds then is put back by whoever changed it.
    """

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.transport = transport
        self._numbers = itertools.count()
        self._prepared: dict[str, Prepared] = {}
        self._forgotten: list[bytes] = []

    def prepared(self, text: str, saying: list[bytes]) -> Prepared:
        """Return a statement as it is prepared here; where it is not yet, `saying` prepares it."""
        found = self._prepared.get(text)
        if found is None:
            found = self._prepared[text] = Prepared(b"fluxbase_%d" % next(self._numbers))
            if len(self._prepared) > _MOST_PREPARED:
                self.forget(next(iter(self._prepared)))
            saying += map(messages.forget, self._forgotten)
            self._forgotten.clear()
            saying.append(messages.prepare(found.name, text))
        return found

    def forget(self, text: str) -> None:
        """Have a statement prepared anew when it is needed again."""
        gone = self._prepared.pop(text, None)
        if gone is not None:
            self._forgotten.append(gone.name)
