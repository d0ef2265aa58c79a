"""The storage room as a whole, for its tools and for whoever serves it; it must not know HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fluxbase.errors import Forbidden, InvalidArgument
from fluxbase.storage.blobs import Blobs
from fluxbase.storage.local import LocalStore
from fluxbase.storage.objects import Objects
from fluxbase.storage.signing import Pass, Signer
from fluxbase.storage.uploads import Uploads

if TYPE_CHECKING:
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.storage.signing import Method
    from fluxbase.storage.store import Store
    from fluxbase.toolkit import Context


_OF_USERS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Storage:
    """Its parts, and what the configuration says of them."""

    store: Store
    blobs: Blobs
    objects: Objects
    uploads: Uploads
    signer: Signer
    base_url: str
    max_download: int
    longest_pass: float

    async def sign(
        self,
        ctx: Context,
        method: Method,
        bucket: str,
        key: str,
        seconds: int,
        *,
        max_size: int | None = None,
        content_type: str | None = None,
    ) -> dict[str, Any]:
        """Return a URL that lets whoever has it do one thing with one object.

        Raises:
            UnknownObject: to get: there is no such object for this caller.
            UnknownBucket: to put: there is no such bucket for this caller.
            InvalidArgument: it would last too long.
        """
        # Of a user nothing can be asked again later, so no pass outlives what a token may.
        longest = min(self.longest_pass, _OF_USERS) if ctx.who.kind == "user" else self.longest_pass
        if seconds > longest:
            raise InvalidArgument(f"expires_in: at most {longest:g} seconds")
        if method == "GET":
            await self.objects.find(ctx, bucket, key)
        else:
            if ctx.who.read_only:
                raise Forbidden("this key may only read")
            most = await self.objects.admit(ctx, bucket, key, content_type, max_size)
            max_size = min(max_size or most, most)
        expires = int(time.time()) + seconds
        token = self.signer.seal(
            Pass(method, bucket, key, expires, ctx.who, max_size, content_type)
        )
        path = f"{self.base_url}/{bucket}/{quote(key)}"
        return {
            "url": f"{path}?token={token}",
            "method": method,
            "expires_at": datetime.fromtimestamp(expires, UTC).isoformat(),
            "content_type": content_type,
        }


def open_store(config: Config) -> Store:
    """Return the backend that the configuration names; nothing is asked of it yet."""
    storage = config.storage
    if storage.backend == "local":
        return LocalStore(storage.path)
    # Its library is larger than all the rest, and slow to import.
    from fluxbase.storage.s3 import S3Store  # noqa: PLC0415

    return S3Store(storage.s3)


def storage(config: Config, database: Database, store: Store, key: bytes) -> Storage:
    """Return the room of a configuration on a store; `key` seals signed URLs."""
    blobs = Blobs(database, store)
    objects = Objects(database, store, blobs, config.storage.max_file_size)
    public = (config.server.public_url or "").rstrip("/")
    return Storage(
        store=store,
        blobs=blobs,
        objects=objects,
        uploads=Uploads(database, objects, blobs, store, config.storage),
        signer=Signer(key),
        base_url=f"{public}{config.server.api_path}/storage",
        max_download=config.storage.max_download_size,
        longest_pass=config.storage.signed_url_lifetime,
    )
