"""The resources that show files."""

from __future__ import annotations

from typing import Any

import orjson

from fluxbase.errors import InvalidArgument, TooLarge, UnknownObject, UnknownResource
from fluxbase.storage.buckets import list_buckets
from fluxbase.storage.service import Storage
from fluxbase.toolkit import Context, resource
from fluxbase.toolkit.completion import completer


@resource("fluxbase://storage/buckets", scopes=("read:storage",), title="Storage buckets")
async def buckets(ctx: Context) -> str:
    """List the buckets the caller may know of, with what they take."""
    found = await list_buckets(ctx)
    shown: list[dict[str, Any]] = [
        {
            name: bucket[name]
            for name in ("id", "name", "public", "max_file_size", "allowed_mime_types")
        }
        for bucket in found
    ]
    return orjson.dumps({"buckets": shown, "count": len(shown)}).decode()


@resource(
    "fluxbase://storage/{bucket}/{+key}",
    scopes=("read:storage",),
    title="One object",
    untrusted=True,
    mime_type="application/octet-stream",
    tool="download_object",
)
async def stored_object(ctx: Context, bucket: str, key: str) -> bytes:
    """Return the bytes of an object the caller may read."""
    storage = ctx.service(Storage)
    try:
        info = await storage.objects.find(ctx, bucket, key)
    except (InvalidArgument, UnknownObject):
        raise UnknownResource("no such resource") from None
    if info.size > storage.max_download:
        raise TooLarge("the object is too large for a resource", hint="use create_signed_url")
    data = bytearray()
    async for piece in storage.objects.bytes_of(info):
        data += piece
    return bytes(data)


@completer("bucket")
async def bucket_names(ctx: Context, _given: object) -> list[str]:
    """Complete the names of buckets."""
    return [bucket["id"] for bucket in await list_buckets(ctx)]
