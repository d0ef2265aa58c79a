"""Uploads that come in several requests, and go on where a cut one ended; it must not know HTTP.

Each request's bytes become a blob of their own, kept as far as they came; with the last one they
are put together. So every backend can do it, and a cut costs at most what was on its way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from fluxbase.errors import Conflict, FluxbaseError, UnknownResource
from fluxbase.storage.objects import limited
from fluxbase.toolkit.pause import pause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
    from datetime import datetime

    from fluxbase.config.storage import Storage as StorageConfig
    from fluxbase.db.database import Database
    from fluxbase.principal import Principal
    from fluxbase.storage.blobs import Blobs
    from fluxbase.storage.objects import Objects
    from fluxbase.storage.store import Store
    from fluxbase.toolkit import Context


_SETTLES: Final = 10.0  # seconds


class UnknownUpload(UnknownResource):
    """There is no such upload of this caller's; it may have been finished, or not in time."""

    title = "No such upload"


class TooManyUploads(Conflict):
    """The caller has begun as many uploads as it may have open."""

    title, status = "Too many uploads are open", 429


class OffsetMismatch(Conflict):
    """The bytes that come are not the next ones."""

    title = "The upload is at another offset"


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload and how far it is; sizes in bytes."""

    id: str
    bucket: str
    key: str
    size: int
    received: int
    content_type: str
    metadata: Mapping[str, Any]
    expires_at: datetime


class _Taking:
    """A request whose bytes are being taken; another one of the same client may end it."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._ended = False
        self._next: asyncio.Future[bytes] | None = None

    def end(self) -> None:
        """Take no more than came so far."""
        self._ended = True
        if self._next is not None:
            self._next.cancel()

    async def take(self, source: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        """Yield what the source gives until it, or somebody, ends."""
        pieces = aiter(source)
        while not self._ended:
            self._next = asyncio.ensure_future(_next(pieces))
            try:
                piece = await self._next
            except asyncio.CancelledError:
                if self._ended and not _is_cancelled():
                    return
                self._next.cancel()
                raise
            if not piece:
                return
            yield piece


class Uploads:
    """All uploads that are under way."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        blobs: Blobs,
        store: Store,
        config: StorageConfig,
    ) -> None:
        self._database = database
        self._objects = objects
        self._blobs = blobs
        self._store = store
        self._config = config
        self._busy: dict[str, _Taking] = {}

    async def begin(
        self,
        ctx: Context,
        bucket: str,
        key: str,
        size: int,
        content_type: str,
        metadata: Mapping[str, Any],
    ) -> Upload:
        """Begin an upload; raises what `Objects.admit` does, and `TooManyUploads`."""
        await self._objects.check_writable(ctx, bucket, key, content_type, size)
        count = await self._database.admin("count_uploads", principal=ctx.who.owner)
        if count[0]["count"] >= self._config.max_uploads_per_key:
            raise TooManyUploads(hint="finish or delete some, or wait until they expire")
        rows = await self._database.admin(
            "add_upload",
            principal=ctx.who.owner,
            bucket=bucket,
            name=key,
            size=size,
            content_type=content_type,
            metadata=orjson.dumps(metadata).decode(),
            seconds=self._config.upload_lifetime,
        )
        return await self.find(ctx.who, str(rows[0]["id"]))

    async def find(self, who: Principal, id_: str) -> Upload:
        """Return an upload of the caller's.

        Raises:
            UnknownUpload: there is none.
        """
        try:
            asked = str(UUID(id_))
        except ValueError:
            raise UnknownUpload from None
        rows = await self._database.admin("find_upload", id=asked, principal=who.owner)
        if not rows:
            raise UnknownUpload
        row = rows[0]
        return Upload(
            row["id"],
            row["bucket_id"],
            row["name"],
            row["size"],
            row["received"],
            row["content_type"],
            orjson.loads(row["metadata"]),
            row["expires_at"],
        )

    async def settle(self, id_: str) -> None:
        """End what still takes bytes of an upload here, and wait until they are kept.

        A client that asks how far it is has given up its earlier request, which may not know yet.
        """
        taking = self._busy.get(id_)
        if taking is not None:
            taking.end()
            await pause(taking.over, _SETTLES)

    async def add(
        self, ctx: Context, upload: Upload, offset: int, source: AsyncIterable[bytes]
    ) -> int:
        """Take further bytes, as far as they come; return how many there are then.

        With the last byte the object is there, under the caller's rights of that moment.

        Raises:
            OffsetMismatch: `offset` is not where the upload is, or somebody else adds to it.
            TooLarge: more bytes come than were announced.
        """
        if offset != upload.received or upload.id in self._busy:
            raise OffsetMismatch(hint="ask with HEAD how far the upload is")
        taking = self._busy[upload.id] = _Taking()
        try:
            received = upload.received
            if received < upload.size:
                received = await self._take(upload, taking.take(source))
            if received == upload.size:
                await self._finish(ctx, upload)
            return received
        finally:
            del self._busy[upload.id]
            taking.over.set()

    async def end(self, who: Principal, id_: str) -> None:
        """Give up an upload of the caller's.

        Raises:
            UnknownUpload: there is none.
        """
        upload = await self.find(who, id_)
        await self._database.admin("end_upload", id=upload.id)

    async def _take(self, upload: Upload, source: AsyncIterable[bytes]) -> int:
        blob = await self._blobs.begin(upload.id)
        kept = False
        try:
            most = upload.size - upload.received
            stored = await self._blobs.write(blob, limited(source, most))
            if stored.size:
                rows = await self._database.admin(
                    "accept_part", blob=blob, upload=upload.id, received=upload.received
                )
                if not rows:  # another instance was faster
                    raise OffsetMismatch(hint="ask with HEAD how far the upload is")
                kept = True
        finally:
            if not kept:
                await self._blobs.give_up(blob)
        return upload.received + stored.size

    async def _finish(self, ctx: Context, upload: Upload) -> None:
        rows = await self._database.admin("list_parts", upload=upload.id)
        parts = [str(row["id"]) for row in rows]
        await self._objects.put(
            ctx,
            upload.bucket,
            upload.key,
            self._together(parts),
            content_type=upload.content_type,
            size=upload.size,
            metadata=upload.metadata,
        )
        try:
            await self._database.admin("end_upload", id=upload.id)
        except FluxbaseError:
            return  # the object is there; the sweeper ends the upload

    async def _together(self, parts: list[str]) -> AsyncGenerator[bytes]:
        for part in parts:
            async for piece in self._store.get(part):
                yield piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
