"""The tools for files."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fluxbase.errors import InvalidArgument
from fluxbase.storage.objects import OCTETS
from fluxbase.storage.service import Storage
from fluxbase.toolkit import Context, tool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.storage.objects import ObjectInfo

_READ = ("read:storage",)
_WRITE = ("write:storage",)
_TEXTS = ("text/", "application/json", "application/xml", "application/yaml", "image/svg+xml")

Bucket = Annotated[str, Field(min_length=1, max_length=63, description="Bucket name")]
Key = Annotated[
    str, Field(min_length=1, max_length=1024, description="Object key, such as reports/2026.csv")
]
ContentType = Annotated[
    str | None, Field(max_length=255, description="Media type, such as image/png")
]


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of objects."""

    objects: list[dict[str, Any]]
    count: int
    is_truncated: bool
    next_marker: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the page without what it does not have."""
        found = {"objects": self.objects, "count": self.count, "is_truncated": self.is_truncated}
        return found if self.next_marker is None else {**found, "next_marker": self.next_marker}


@dataclass(frozen=True, slots=True)
class Downloaded:
    """An object with its bytes, or the beginning of them."""

    key: str
    size: int
    content_type: str
    etag: str
    content: str
    encoding: Literal["text", "base64"]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept now."""

    key: str
    size: int
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted."""

    deleted: bool
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Where an object is now."""

    moved: bool
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """An address that is good for one thing, for a time."""

    url: str
    method: str
    expires_at: str
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Info:
    """All that is known of an object but its bytes."""

    bucket: str
    key: str
    size: int
    content_type: str
    etag: str
    created_at: str
    last_modified: str
    owner_id: str | None
    metadata: dict[str, Any]
    versions: list[dict[str, Any]]


@tool(scopes=_READ, title="List objects", read_only=True, untrusted=True)
async def list_objects(
    ctx: Context,
    bucket: Bucket,
    prefix: Annotated[str, Field(max_length=1024, description="Beginning of the keys")] = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="Most objects to return")] = 100,
    start_after: Annotated[
        str, Field(max_length=1024, description="Key to go on after, such as next_marker")
    ] = "",
) -> Listing:
    """List the objects of a bucket that the caller may read, in the order of their keys."""
    objects = ctx.service(Storage).objects
    found = await objects.list(ctx, bucket, prefix, start_after, limit + 1)
    page = found[:limit]
    more = len(found) > limit
    ctx.rows = len(page)
    return Listing(page, len(page), more, page[-1]["key"] if more else None)


@tool(scopes=_READ, title="Download object", read_only=True, untrusted=True)
async def download_object(
    ctx: Context,
    bucket: Bucket,
    key: Key,
    version: Annotated[
        str | None, Field(max_length=36, description="An earlier version, of get_object_info")
    ] = None,
) -> Downloaded:
    """Return an object: text as it is, other bytes as base64; what is too long is cut off.

    `create_signed_url` gives an address for the whole of a large one.
    """
    storage = ctx.service(Storage)
    info = await storage.objects.find(ctx, bucket, key, version)
    end = min(info.size, storage.max_download)
    data = bytearray()
    async for piece in storage.objects.bytes_of(info, 0, end):
        data += piece
    truncated = end < info.size
    words = _as_text(bytes(data), info, truncated=truncated)
    content = base64.b64encode(data).decode() if words is None else words
    return Downloaded(
        info.key,
        info.size,
        info.content_type,
        info.etag,
        content,
        "base64" if words is None else "text",
        truncated,
    )


@tool(scopes=_WRITE, title="Upload object", destructive=True, idempotent=True)
async def upload_object(
    ctx: Context,
    bucket: Bucket,
    key: Key,
    content: Annotated[str, Field(description="The text, or the bytes as base64")],
    content_type: ContentType = None,
    encoding: Annotated[
        Literal["text", "base64"], Field(description="How the content is written")
    ] = "text",
    metadata: Annotated[
        dict[str, Any] | None, Field(description="A small JSON object kept with it")
    ] = None,
) -> Stored:
    """Keep a file under a key; an object of the same key that the caller owns is replaced.

    `create_signed_url` gives an address for files that are too large for a call.
    """
    data = content.encode() if encoding == "text" else _decoded(content)
    kind = content_type or ("text/plain; charset=utf-8" if encoding == "text" else OCTETS)
    told, _ = await ctx.service(Storage).objects.put(
        ctx, bucket, key, _once(data), content_type=kind, size=len(data), metadata=metadata
    )
    return Stored(**told)


@tool(scopes=_WRITE, title="Delete object", destructive=True)
async def delete_object(ctx: Context, bucket: Bucket, key: Key) -> Deleted:
    """Delete an object; in a bucket with versioning it is kept as a version."""
    await ctx.service(Storage).objects.delete(ctx, bucket, key)
    return Deleted(deleted=True, bucket=bucket, key=key)


@tool(scopes=_WRITE, title="Move object")
async def move_object(
    ctx: Context,
    bucket: Bucket,
    key: Key,
    to_key: Annotated[str, Field(min_length=1, max_length=1024, description="The new key")],
    to_bucket: Annotated[
        str | None, Field(max_length=63, description="Another bucket; the same when left out")
    ] = None,
) -> Moved:
    """Give an object another key, or another bucket; nothing that is there is overwritten."""
    target = to_bucket or bucket
    await ctx.service(Storage).objects.move(ctx, bucket, key, target, to_key)
    return Moved(moved=True, bucket=target, key=to_key)


@tool(scopes=_WRITE, title="Copy object", destructive=True, idempotent=True)
async def copy_object(
    ctx: Context,
    bucket: Bucket,
    key: Key,
    to_key: Annotated[str, Field(min_length=1, max_length=1024, description="Key of the copy")],
    to_bucket: Annotated[
        str | None, Field(max_length=63, description="Another bucket; the same when left out")
    ] = None,
) -> Stored:
    """Keep the bytes of an object under another key too; the copy is the caller's own."""
    objects = ctx.service(Storage).objects
    source = await objects.find(ctx, bucket, key)
    return Stored(**await objects.copy(ctx, source, to_bucket or bucket, to_key))


@tool(scopes=_READ, title="Create signed URL", read_only=True)
async def create_signed_url(
    ctx: Context,
    bucket: Bucket,
    key: Key,
    method: Annotated[
        Literal["get", "put"], Field(description="get to download, put to upload")
    ] = "get",
    expires_in: Annotated[int, Field(ge=1, description="Lifetime in seconds")] = 3600,
    max_size: Annotated[
        int | None, Field(ge=0, description="put: most bytes that may be uploaded")
    ] = None,
    content_type: ContentType = None,
) -> SignedUrl:
    """Return an address by which anybody who has it may download, or upload, this one object.

    It works as long as the caller itself may do that.
    """
    storage = ctx.service(Storage)
    if method == "put" and not ctx.who.holds(_WRITE):
        raise InvalidArgument("method: 'put' needs the scope write:storage")
    verb: Literal["GET", "PUT"] = "GET" if method == "get" else "PUT"
    return SignedUrl(
        **await storage.sign(
            ctx, verb, bucket, key, expires_in, max_size=max_size, content_type=content_type
        )
    )


@tool(scopes=_READ, title="Object info", read_only=True, untrusted=True)
async def get_object_info(ctx: Context, bucket: Bucket, key: Key) -> Info:
    """Tell size, type, etag, owner, metadata and earlier versions of an object."""
    objects = ctx.service(Storage).objects
    info = await objects.find(ctx, bucket, key)
    return Info(
        info.bucket,
        info.key,
        info.size,
        info.content_type,
        info.etag,
        info.created_at,
        info.last_modified,
        info.owner_id,
        dict(info.metadata),
        await objects.versions(ctx, bucket, key),
    )


def _as_text(data: bytes, info: ObjectInfo, *, truncated: bool) -> str | None:
    """Return bytes as text where they are one; a letter that was cut in two is left out."""
    if not info.content_type.lower().startswith(_TEXTS):
        return None
    for cut in range(4 if truncated else 1):
        try:
            return data[: len(data) - cut].decode()
        except UnicodeDecodeError:
            continue
    return None


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("content: this is not base64", hint="or set encoding: text") from None


async def _once(data: bytes) -> AsyncGenerator[bytes]:
    yield data
