"""The life of bytes: noted before the first is written, forgotten after the last is deleted.

A blob is pending while it is written, ready when a row of an object has it, doomed when none has it
any more. Whatever is killed in between is found here by its state. It must not know names.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from fluxbase.errors import FluxbaseError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from fluxbase.db.database import Database
    from fluxbase.storage.store import Store, Stored

log = logging.getLogger(__name__)

LEASE: Final = 300.0  # seconds that a writer may be silent
_RENEW: Final = 60.0
GRACE: Final = 60.0  # seconds that whoever found a blob a moment ago may still begin to read it
_BATCH: Final = 200


class Blobs:
    """Writes bytes and cleans up after writers that died."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database = database
        self._store = store

    async def begin(self, upload: str | None = None) -> str:
        """Note bytes that will be written, as part of an upload or not; return their id."""
        rows = await self._database.admin("add_blob", upload=upload, seconds=LEASE)
        return str(rows[0]["id"])

    async def write(self, blob: str, source: AsyncIterable[bytes]) -> Stored:
        """Write what the source gives, and note how much that was.

        Raises:
            StoreUnavailable: the bytes could not be kept.
            Unavailable: the database forgot them meanwhile.
        """
        async with self._kept(blob):
            stored = await self._store.put(blob, source)
        rows = await self._database.admin(
            "seal_blob", id=blob, size=stored.size, checksum=stored.checksum
        )
        if not rows:
            raise Unavailable("writing the bytes took too long; nothing was changed, try again")
        return stored

    async def give_up(self, blob: str) -> None:
        """Let go of bytes that no object got; the sweeper does it if this cannot."""
        with suppress(FluxbaseError):
            await asyncio.shield(self._database.admin("doom_blob", id=blob))

    async def sweep(self, grace: float = GRACE) -> int:
        """Delete what belongs to nothing any more; return how many blobs that were."""
        await self._database.admin("end_expired_uploads")
        await self._database.admin("doom_expired_blobs")
        deleted = 0
        while True:
            rows = await self._database.admin("list_doomed_blobs", age=grace, most=_BATCH)
            ids = [blob for row in rows if await self._deleted(blob := str(row["id"]))]
            await self._database.admin("delete_blobs", ids=ids)
            deleted += len(ids)
            if len(ids) < _BATCH:
                return deleted

    async def _deleted(self, blob: str) -> bool:
        """Delete bytes; one that cannot be deleted now must not keep those behind it."""
        try:
            await self._store.delete(blob)
        except FluxbaseError as error:
            log.warning("storage: a blob could not be deleted: %s", error.message)
            return False
        return True

    @asynccontextmanager
    async def _kept(self, blob: str) -> AsyncGenerator[None]:
        """Say now and then that bytes are still being written."""
        renewing = asyncio.create_task(self._renew(blob))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait((renewing,))

    async def _renew(self, blob: str) -> None:
        while True:
            await asyncio.sleep(_RENEW)
            with suppress(FluxbaseError):
                await self._database.admin("renew_blob", id=blob, seconds=LEASE)
