"""The tools for buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from fluxbase.storage import buckets as rules
from fluxbase.toolkit import Context, tool

_READ = ("read:storage",)
_WRITE = ("write:storage",)

Bucket = Annotated[str, Field(min_length=1, max_length=63, description="Bucket name")]
MimeTypes = Annotated[
    list[str] | None,
    Field(max_length=100, description="Types it takes, such as image/png or image/*; empty: all"),
]
MaxFileSize = Annotated[
    int | None, Field(ge=0, description="Largest object in bytes; 0 for no limit of its own")
]
Public = Annotated[
    bool | None, Field(description="Whether anybody may read its objects by address")
]
Versioning = Annotated[
    bool | None, Field(description="Whether what is overwritten or deleted is kept")
]


@dataclass(frozen=True, slots=True)
class BucketRules:
    """A bucket and what it takes."""

    id: str
    name: str
    public: bool
    max_file_size: int | None
    allowed_mime_types: list[str]
    versioning: bool
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets there are for the caller."""

    buckets: list[BucketRules]
    count: int


@dataclass(frozen=True, slots=True)
class BucketDeleted:
    """A bucket that is gone."""

    deleted: bool
    bucket: str
    objects: int


@tool(scopes=_READ, title="List buckets", read_only=True)
async def list_buckets(ctx: Context) -> Buckets:
    """List the buckets that the caller may know of, with what they take."""
    found = await rules.list_buckets(ctx)
    return Buckets([BucketRules(**bucket) for bucket in found], len(found))


@tool(scopes=_WRITE, title="Create bucket", service=True)
async def create_bucket(
    ctx: Context,
    bucket: Bucket,
    public: Public = None,
    max_file_size: MaxFileSize = None,
    allowed_mime_types: MimeTypes = None,
    versioning: Versioning = None,
) -> BucketRules:
    """Make a bucket; unless it is public, objects are read by those alone whom policies allow."""
    given = _given(public, max_file_size, allowed_mime_types, versioning)
    return BucketRules(**await rules.create_bucket(ctx, bucket, given))


@tool(scopes=_WRITE, title="Update bucket", service=True, idempotent=True, destructive=True)
async def update_bucket(
    ctx: Context,
    bucket: Bucket,
    public: Public = None,
    max_file_size: MaxFileSize = None,
    allowed_mime_types: MimeTypes = None,
    versioning: Versioning = None,
) -> BucketRules:
    """Change what a bucket takes and who may read it; what is left out stays."""
    given = _given(public, max_file_size, allowed_mime_types, versioning)
    return BucketRules(**await rules.update_bucket(ctx, bucket, given))


@tool(scopes=_WRITE, title="Delete bucket", service=True, destructive=True)
async def delete_bucket(
    ctx: Context,
    bucket: Bucket,
    force: Annotated[bool, Field(description="Delete what is in it, versions too")] = False,
) -> BucketDeleted:
    """Remove a bucket; one that is not empty only with `force`."""
    count = await rules.delete_bucket(ctx, bucket, force=force)
    return BucketDeleted(deleted=True, bucket=bucket, objects=count)


def _given(
    public: bool | None,
    max_file_size: int | None,
    allowed_mime_types: list[str] | None,
    versioning: bool | None,
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "public": public,
        "allowed_mime_types": allowed_mime_types,
        "versioning": versioning,
    }
    if max_file_size is not None:
        given["max_file_size"] = max_file_size or None
    return given
