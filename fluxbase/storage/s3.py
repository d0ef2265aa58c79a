"""Keeps blobs in a bucket of S3 or what speaks like it; it must not know names or callers.

The client library blocks, so it runs on threads of its own, and no more than those. Sources: Amazon
S3 API reference; conditional writes (If-None-Match) and multipart uploads of its user guide.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from fluxbase.storage.store import MissingBlob, Stored, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

    from fluxbase.config.storage import S3

T = TypeVar("T")

_PART: Final = 8 * 1024 * 1024  # of a multipart upload, which may have 10,000
_PIECE: Final = 256 * 1024
_GONE: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_UNKNOWN: Final = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405", "NoSuchUpload"})


class S3Store:
    """A bucket of blobs."""

    def __init__(self, config: S3) -> None:
        self._bucket = config.bucket
        self._prefix = config.prefix
        self._conditional = config.conditional_writes
        self._creates = config.create_bucket
        self._threads = ThreadPoolExecutor(config.connections, thread_name_prefix="s3")
        secret = config.secret_access_key
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            aws_access_key_id=config.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=BotoConfig(
                connect_timeout=2,
                read_timeout=10,
                retries={"mode": "standard", "max_attempts": 3},
                max_pool_connections=config.connections,
                s3={"addressing_style": "path" if config.path_style else "auto"},
                # Those who only speak like S3 do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def put(self, blob: str, source: AsyncIterable[bytes]) -> Stored:
        """Keep all that the source gives; see `Store`."""
        writing = _Writing(self._key(blob))
        waiting = bytearray()
        try:
            async for piece in source:
                waiting += piece
                while len(waiting) >= _PART:
                    await self._run(self._add_part, writing, bytes(waiting[:_PART]))
                    del waiting[:_PART]
            return await self._run(self._finish, writing, bytes(waiting))
        except BaseException:
            if writing.upload is not None:
                with suppress(StoreUnavailable):
                    await asyncio.shield(self._run(self._abort, writing.key, writing.upload))
            raise

    async def get(self, blob: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the bytes of a blob; see `Store`."""
        if start and end is None:
            end = await self.size(blob)
        if end is not None and end <= start:
            return
        asked = {"Bucket": self._bucket, "Key": self._key(blob)}
        if end is not None:
            asked["Range"] = f"bytes={start}-{end - 1}"
        answer = await self._run(self._client.get_object, **asked)
        left = 2**63 if end is None else end - start
        # Some servers do not know ranges and give the whole.
        skip = start if "ContentRange" not in answer and answer["ContentLength"] > left else 0
        body = answer["Body"]
        try:
            while left and (piece := await self._run(body.read, _PIECE)):
                skip, piece = max(0, skip - len(piece)), piece[skip : skip + left]
                left -= len(piece)
                if piece:
                    yield piece
        finally:
            body.close()

    async def size(self, blob: str) -> int | None:
        """Return the size of a blob; see `Store`."""
        try:
            key = self._key(blob)
            found = await self._run(self._client.head_object, Bucket=self._bucket, Key=key)
        except MissingBlob:
            return None
        return int(found["ContentLength"])

    async def delete(self, blob: str) -> None:
        """Remove a blob and what is left of uploads of it; see `Store`."""
        key = self._key(blob)
        with suppress(MissingBlob):
            await self._run(self._client.delete_object, Bucket=self._bucket, Key=key)
        await self._run(self._abort_all, key)

    async def blobs(self) -> AsyncGenerator[str]:
        """Yield the ids of all blobs; see `Store`."""
        asked: dict[str, str] = {"Bucket": self._bucket, "Prefix": self._prefix}
        while True:
            page = await self._run(self._client.list_objects_v2, **asked)
            for item in page.get("Contents", ()):
                with suppress(ValueError):
                    yield str(UUID(item["Key"].removeprefix(self._prefix)))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    async def check(self) -> None:
        """See that the bucket is there and may be used; see `Store`."""
        try:
            await self._run(self._client.head_bucket, Bucket=self._bucket)
        except MissingBlob:
            if not self._creates:
                raise StoreUnavailable("the bucket of storage.s3 does not exist") from None
            await self._run(self._client.create_bucket, Bucket=self._bucket)

    async def close(self) -> None:
        """Let go of connections and threads."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _key(self, blob: str) -> str:
        return self._prefix + UUID(blob).hex

    async def _run(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, partial(work, *arguments, **named))
        except ClientError as error:
            raise _failed(error) from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable("the S3 server cannot be reached", retry_after=5) from error

    def _add_part(self, writing: _Writing, part: bytes) -> None:
        if writing.upload is None:
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=writing.key)
            writing.upload = begun["UploadId"]
        number = len(writing.parts) + 1
        done = self._client.upload_part(
            Bucket=self._bucket,
            Key=writing.key,
            UploadId=writing.upload,
            PartNumber=number,
            Body=part,
        )
        writing.parts.append({"PartNumber": number, "ETag": done["ETag"]})
        writing.note(part)

    def _finish(self, writing: _Writing, rest: bytes) -> Stored:
        only_new = {"IfNoneMatch": "*"} if self._conditional else {}
        if writing.upload is None:
            self._client.put_object(Bucket=self._bucket, Key=writing.key, Body=rest, **only_new)
            writing.note(rest)
        else:
            if rest:
                self._add_part(writing, rest)
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=writing.key,
                UploadId=writing.upload,
                MultipartUpload={"Parts": writing.parts},
                **only_new,
            )
        return Stored(writing.size, writing.digest.hexdigest())

    def _abort(self, key: str, upload: str) -> None:
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def _abort_all(self, key: str) -> None:
        try:
            found = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
            for upload in found.get("Uploads", ()):
                self._abort(upload["Key"], upload["UploadId"])
        except ClientError as error:
            if _code(error) not in _UNKNOWN:
                raise


class _Writing:
    """A blob on its way."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.upload: str | None = None
        self.parts: list[dict[str, Any]] = []
        self.digest = sha256()
        self.size = 0

    def note(self, part: bytes) -> None:
        self.digest.update(part)
        self.size += len(part)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _failed(error: ClientError) -> StoreUnavailable | MissingBlob:
    code = _code(error)
    if code in _GONE:
        return MissingBlob()
    if code in ("PreconditionFailed", "412"):
        return StoreUnavailable("a blob of this id is there already")
    if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return StoreUnavailable("the S3 server refuses the credentials of storage.s3")
    return StoreUnavailable("the S3 server refused the request", retry_after=5)
