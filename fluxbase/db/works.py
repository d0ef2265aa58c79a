"""Work of the owner that may take long, on connections of its own.

Nobody who only asks who somebody is shall wait for it. It must not know what the work is for.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fluxbase.db.defining import Definer
from fluxbase.db.embedding import embed_by
from fluxbase.db.owner import as_owner, tried
from fluxbase.db.queries import queries
from fluxbase.db.vector_index import VectorIndex, build

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from fluxbase.db.pool import Pool
    from fluxbase.db.types import Record

AT_ONCE: Final = 4
_TIMEOUT: Final = 900.0


class Works:
    """Runs it; errors are those of `fluxbase.db.errors.translate`."""

    def __init__(self, pool: Pool, forget_catalog: Callable[[], None]) -> None:
        self._pool = pool
        self._forget_catalog = forget_catalog

    async def run(self, name: str, /, **arguments: object) -> list[Record]:
        """Return the rows of a named query that may take minutes."""
        query = queries()[name]
        async with as_owner(self._pool) as conn:
            return await conn.fetch(query.sql, *query.bind(arguments), timeout=_TIMEOUT)

    async def embed_by(self, function: str, texts: Sequence[str], seconds: float) -> list[str]:
        """Return what a function `schema.name` makes of each text, as text."""
        async with as_owner(self._pool) as conn:
            return await embed_by(conn, function, texts, seconds=seconds)

    async def build_index(self, wanted: VectorIndex) -> None:
        """Build an index of vectors while others write; see `fluxbase.db.vector_index.build`."""
        async with as_owner(self._pool) as conn:
            await build(conn, wanted)

    @asynccontextmanager
    async def define(self, *, dry_run: bool) -> AsyncGenerator[Definer]:
        """Open a transaction for SQL files; a dry run takes all of it back."""
        async with as_owner(self._pool) as conn, tried(conn, dry_run=dry_run):
            yield Definer(conn)
        self._forget_catalog()
