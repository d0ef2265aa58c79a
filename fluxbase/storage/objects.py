"""Objects: their rows as the caller, their bytes after the row said yes; it must not know HTTP.

Every door leads through here. Whoever may not see a row in `storage.objects` gets no byte of it,
and whoever may not write one leaves none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import orjson

from fluxbase.db.queries import statement
from fluxbase.errors import (
    Conflict,
    ConstraintViolation,
    Forbidden,
    InvalidArgument,
    TooLarge,
    UnknownBucket,
    UnknownObject,
)
from fluxbase.storage.names import check_bucket, check_key, check_prefix, check_type

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from fluxbase.db.database import Database
    from fluxbase.storage.blobs import Blobs
    from fluxbase.storage.store import Store, Stored
    from fluxbase.toolkit import Context

OCTETS: Final = "application/octet-stream"
_MOST_METADATA: Final = 4096


class PreconditionFailed(Conflict):
    """The object is not, or not any more, as the request expects it."""

    title, status = "The object is not as the request expects it", 412


class When(NamedTuple):
    """What an object must be like for a change: have this etag, or not be there."""

    if_match: str | None = None
    if_none_match: bool = False


ALWAYS: Final = When()


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of one object, or of one version of it."""

    bucket: str
    key: str
    size: int
    content_type: str
    etag: str
    last_modified: str
    created_at: str
    owner_id: str | None
    metadata: Mapping[str, Any]
    blob: str


class Objects:
    """The objects of all buckets."""

    def __init__(self, database: Database, store: Store, blobs: Blobs, max_size: int) -> None:
        self._database = database
        self._store = store
        self._blobs = blobs
        self._max_size = max_size

    async def find(
        self, ctx: Context, bucket: str, key: str, version: str | None = None
    ) -> ObjectInfo:
        """Return an object that the caller may read.

        Raises:
            UnknownObject: there is none, for this caller.
        """
        ctx.target = _target(bucket)
        asked = {"bucket": check_bucket(bucket), "name": check_key(key)}
        if version is None:
            row = await ctx.read(statement("find_object", **asked))
        else:
            row = await ctx.read(statement("find_version", **asked, version=_uuid(version)))
        if row["found"] is None:
            raise UnknownObject
        return _info(orjson.loads(row["found"]))

    async def versions(self, ctx: Context, bucket: str, key: str) -> list[dict[str, Any]]:
        """Return the earlier versions that the caller may read, newest first."""
        asked = statement("list_versions", bucket=bucket, name=key, most=100)
        return orjson.loads((await ctx.read(asked))["found"])

    async def list(
        self, ctx: Context, bucket: str, prefix: str, after: str, limit: int
    ) -> list[dict[str, Any]]:
        """Return up to `limit` objects whose keys begin with `prefix` and come after `after`.

        Raises:
            UnknownBucket: there is no such bucket, for this caller.
        """
        ctx.target = _target(bucket)
        asked = statement(
            "list_objects",
            bucket=check_bucket(bucket),
            prefix=check_prefix(prefix),
            after=check_prefix(after),
            most=limit,
        )
        found: list[dict[str, Any]] = orjson.loads((await ctx.read(asked))["found"])
        if not found:
            row = await ctx.read(statement("get_bucket", id=bucket))
            if row["found"] is None:
                raise UnknownBucket
        return found

    def bytes_of(
        self, info: ObjectInfo, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes of an object that was found for the caller a moment ago."""
        return self._store.get(info.blob, start, end)

    async def put(
        self,
        ctx: Context,
        bucket: str,
        key: str,
        source: AsyncIterable[bytes],
        *,
        content_type: str | None = None,
        size: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        when: When = ALWAYS,
    ) -> tuple[dict[str, Any], bool]:
        """Keep what the source gives under a name; return what it is now, and whether it is new.

        Args:
            ctx: the call.
            bucket: where to.
            key: under which name; what is there already and may be changed is replaced.
            source: the bytes.
            content_type: what they are.
            size: how many they will be, where that is known.
            metadata: a small JSON object of the caller's.
            when: what must be there, or must not.

        Raises:
            Forbidden: the caller may not write there.
            TooLarge: it is larger than the bucket or the server takes.
            InvalidArgument: the bucket does not take such files.
            PreconditionFailed: `when` does not hold.
        """
        most = await self.admit(ctx, bucket, key, content_type, size)
        blob = await self._blobs.begin()
        kept = False
        try:
            await self._attach(ctx, bucket, key, blob, content_type, metadata, when, keep=False)
            stored = await self._blobs.write(blob, limited(source, most))
            new = await self._attach(
                ctx, bucket, key, blob, content_type, metadata, when, keep=True
            )
            kept = True
        finally:
            if not kept:
                await self._blobs.give_up(blob)
        return _told(key, stored, content_type), new

    async def admit(
        self, ctx: Context, bucket: str, key: str, content_type: str | None, size: int | None
    ) -> int:
        """Return the most bytes that a file may have which is to be written there.

        Raises:
            UnknownBucket: there is no such bucket, for this caller.
            InvalidArgument: a name is wrong, or the bucket does not take such files.
            TooLarge: it would be too large.
        """
        ctx.target = _target(bucket)
        check_key(key)
        row = await ctx.read(statement("get_bucket", id=check_bucket(bucket)))
        if row["found"] is None:
            raise UnknownBucket
        rules = orjson.loads(row["found"])
        kind = check_type(content_type or OCTETS)
        if rules["allowed_mime_types"] and not _is_allowed(kind, rules["allowed_mime_types"]):
            allowed = ", ".join(rules["allowed_mime_types"])
            raise InvalidArgument(f"content_type: this bucket takes {allowed}")
        most = min(self._max_size, rules["max_file_size"] or self._max_size)
        if size is not None and size > most:
            raise _too_large(most)
        return most

    async def check_writable(
        self, ctx: Context, bucket: str, key: str, content_type: str, size: int
    ) -> None:
        """See that the caller may put such a file there; raises what `put` does."""
        await self.admit(ctx, bucket, key, content_type, size)
        blob = await self._blobs.begin()
        try:
            await self._attach(ctx, bucket, key, blob, content_type, None, ALWAYS, keep=False)
        finally:
            await self._blobs.give_up(blob)

    async def copy(
        self, ctx: Context, source: ObjectInfo, bucket: str, key: str, when: When = ALWAYS
    ) -> dict[str, Any]:
        """Keep the bytes of an object under another name too; raises what `put` does."""
        told, _ = await self.put(
            ctx,
            bucket,
            key,
            self.bytes_of(source),
            content_type=source.content_type,
            size=source.size,
            metadata=source.metadata,
            when=when,
        )
        return told

    async def move(self, ctx: Context, bucket: str, key: str, to_bucket: str, to_key: str) -> None:
        """Give an object another name.

        Raises:
            UnknownObject: there is none that the caller may change.
            Conflict: the other name is taken.
        """
        info = await self.find(ctx, bucket, key)
        await self.admit(ctx, to_bucket, to_key, info.content_type, info.size)
        asked = {"bucket": bucket, "name": key, "to_bucket": to_bucket, "to_name": to_key}
        try:
            async with ctx.change(_target(bucket)) as session:
                row = await session.fetchrow(statement("move_object", **asked))
                if not row["found"]:
                    raise Forbidden("the object may not be changed")
        except ConstraintViolation:
            raise Conflict("there is an object of this name already") from None

    async def delete(self, ctx: Context, bucket: str, key: str, when: When = ALWAYS) -> None:
        """Delete an object.

        Raises:
            UnknownObject: there is none that the caller may delete.
            PreconditionFailed: `when` does not hold.
        """
        asked = {"bucket": check_bucket(bucket), "name": check_key(key)}
        async with ctx.change(_target(bucket)) as session:
            row = await session.fetchrow(
                statement("delete_object", **asked, if_match=when.if_match)
            )
            if not row["found"]:
                seen = await session.fetchrow(statement("find_object", **asked))
                if seen["found"] is None:
                    raise UnknownObject
                if when.if_match not in (None, orjson.loads(seen["found"])["etag"]):
                    raise PreconditionFailed
                raise Forbidden("the object may not be deleted")

    async def _attach(
        self,
        ctx: Context,
        bucket: str,
        key: str,
        blob: str,
        content_type: str | None,
        metadata: Mapping[str, Any] | None,
        when: When,
        *,
        keep: bool,
    ) -> bool:
        """Put bytes under a name; return whether the name is new.

        Without `keep` all is taken back: that tells whether the caller may do it at all, before it
        sends its bytes.
        """
        asked = statement(
            "attach_object",
            bucket=bucket,
            name=key,
            blob=blob,
            content_type=content_type or OCTETS,
            metadata=_metadata(metadata),
            if_match=when.if_match,
            if_none_match=when.if_none_match,
        )
        for last in (False, True):
            try:
                async with ctx.change(_target(bucket), dry_run=not keep) as session:
                    row = await session.fetchrow(asked)
                    if not row["changed"] and not row["added"]:
                        raise PreconditionFailed
                    return bool(row["added"])
            except ConstraintViolation:
                # Somebody was faster, or somebody else has it.
                if last:
                    raise Forbidden("this name is taken, or the bucket refuses the file") from None
        raise AssertionError  # pragma: no cover - the loop returns or raises


def _target(bucket: str) -> str:
    return f"storage/{check_bucket(bucket)}"


def _info(row: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        bucket=row["bucket_id"],
        key=row["name"],
        size=row["size"],
        content_type=row["content_type"],
        etag=row["etag"],
        last_modified=row["updated_at"],
        created_at=row["created_at"],
        owner_id=row["owner_id"],
        metadata=row["metadata"],
        blob=row["blob"],
    )


def _told(key: str, stored: Stored, content_type: str | None) -> dict[str, Any]:
    return {
        "key": key,
        "size": stored.size,
        "content_type": content_type or OCTETS,
        "etag": stored.checksum,
    }


def _metadata(metadata: Mapping[str, Any] | None) -> str:
    text = orjson.dumps(metadata or {})
    if len(text) > _MOST_METADATA:
        raise InvalidArgument(f"metadata: at most {_MOST_METADATA} bytes of JSON are kept")
    return text.decode()


def _is_allowed(content_type: str, allowed: list[str]) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return any(
        kind == rule.lower() or (rule.endswith("/*") and kind.startswith(rule[:-1].lower()))
        for rule in allowed
    )


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise UnknownObject from None


async def limited(source: AsyncIterable[bytes], most: int) -> AsyncGenerator[bytes]:
    """Yield what a source gives, as long as it is not more than so many bytes.

    Raises:
        TooLarge: it is.
    """
    size = 0
    async for piece in source:
        size += len(piece)
        if size > most:
            raise _too_large(most)
        yield piece


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a file may have at most {most} bytes here")
