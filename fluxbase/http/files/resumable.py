"""`{api}/storage/upload/resumable`: uploads that survive a cut; it must not know how they are kept.

Source: TUS 1.0.0, with creation, creation-with-upload, termination and expiration. The names of the
metadata (`bucketName`, `objectName`, `contentType`) are those of Supabase's clients.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from fluxbase.errors import InvalidArgument, TooLarge
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.files.entry import Asked, Rooms, whole
from fluxbase.http.headers import UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from fluxbase.http.head import Headers
    from fluxbase.storage.uploads import Upload
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.request import Request

_VERSION: Final = "1.0.0"
_BYTES: Final = "application/offset+octet-stream"
_EXTENSIONS: Final = b"creation,creation-with-upload,termination,expiration"
_PLAIN: Final[list[tuple[bytes, bytes]]] = [(b"tus-resumable", _VERSION.encode())]
_TOOL: Final = "upload_object"


class UnsupportedVersion(InvalidArgument):
    """The client speaks another version of the protocol."""

    title, status = "Tus-Resumable: 1.0.0 is expected", 412


class ResumableRoute:
    """Begins uploads, and takes their bytes."""

    def __init__(self, rooms: Rooms, path: str, most: int) -> None:
        self._rooms = rooms
        self._path = path
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = Asked(scope, receive, send, self._rooms.gate)
        # For clients behind proxies that know GET and POST alone.
        asked.method = asked.headers.get("x-http-method-override", asked.method).upper()
        try:
            await self._answer(asked)
        except ClientGone:
            return
        except UnsupportedVersion as error:
            await asked.refuse(self._rooms, error, [*_PLAIN, (b"tus-version", _VERSION.encode())])
        except Exception as error:  # noqa: BLE001 - the last one to catch it answers
            await asked.refuse(self._rooms, error, _PLAIN)

    async def _answer(self, asked: Asked) -> None:
        if asked.method == "OPTIONS":
            await self._tell(asked)
            return
        if asked.headers.get("tus-resumable") != _VERSION:
            raise UnsupportedVersion
        work = self._work(asked.method, "upload" in asked.path)
        if work is None:
            await asked.answer(405, [(b"allow", b"OPTIONS, POST, HEAD, PATCH, DELETE")])
            return
        await work(asked)

    def _work(self, method: str, of_one: bool) -> Callable[[Asked], Awaitable[None]] | None:
        if not of_one:
            return self._begin if method == "POST" else None
        return {"HEAD": self._look, "PATCH": self._add, "DELETE": self._end}.get(method)

    async def _tell(self, asked: Asked) -> None:
        about = [
            (b"tus-version", _VERSION.encode()),
            (b"tus-extension", _EXTENSIONS),
            (b"tus-max-size", b"%d" % self._most),
        ]
        await asked.answer(204, [*_PLAIN, *about])

    async def _begin(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, _TOOL)
        size = whole(asked.headers.get("upload-length"), "Upload-Length")
        if size is None:
            raise InvalidArgument("Upload-Length is needed")
        if size > self._most:
            raise TooLarge(f"a file may have at most {self._most} bytes")
        said = _metadata(asked.headers.get("upload-metadata", ""))
        bucket, key = said.get("bucketName", ""), said.get("objectName", "")
        kind = said.get("contentType") or said.get("filetype") or "application/octet-stream"

        async def begin(ctx: Context) -> Upload:
            own = _own(said.get("metadata"))
            return await self._rooms.storage.uploads.begin(ctx, bucket, key, size, kind, own)

        arguments = {"bucket": bucket, "key": key, "size": size}
        upload = await self._rooms.runner.run(request, _TOOL, arguments, begin)
        where = (b"location", f"{self._path}/{upload.id}".encode())
        if asked.headers.get("content-type") == _BYTES or size == 0:
            received = await self._take(request, asked, upload, 0)
            await asked.answer(201, [*_PLAIN, where, *_about(upload, received)])
            return
        await asked.answer(201, [*_PLAIN, where, *_about(upload, 0)])

    async def _look(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, _TOOL)
        uploads = self._rooms.storage.uploads
        upload = await uploads.find(request.who, asked.path["upload"])
        await uploads.settle(upload.id)
        upload = await uploads.find(request.who, upload.id)
        about = [(b"upload-length", b"%d" % upload.size), (b"cache-control", b"no-store")]
        await asked.answer(200, [*_PLAIN, *about, *_about(upload, upload.received)])

    async def _add(self, asked: Asked) -> None:
        request, upload = await self._found(asked)
        if asked.headers.get("content-type") != _BYTES:
            raise UnsupportedMediaType(f"The Content-Type must be {_BYTES}")
        offset = whole(asked.headers.get("upload-offset"), "Upload-Offset")
        if offset is None:
            raise InvalidArgument("Upload-Offset is needed")
        received = await self._take(request, asked, upload, offset)
        await asked.answer(204, [*_PLAIN, *_about(upload, received)])

    async def _end(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, _TOOL)
        await self._rooms.storage.uploads.end(request.who, asked.path["upload"])
        await asked.answer(204, _PLAIN)

    async def _found(self, asked: Asked) -> tuple[Request, Upload]:
        request = await asked.enter(self._rooms, _TOOL)
        uploads = self._rooms.storage.uploads
        return request, await uploads.find(request.who, asked.path["upload"])

    async def _take(self, request: Request, asked: Asked, upload: Upload, offset: int) -> int:

        async def take(ctx: Context) -> int:
            return await self._rooms.storage.uploads.add(ctx, upload, offset, _as_far(asked))

        arguments = {"bucket": upload.bucket, "key": upload.key, "offset": offset}
        return await self._rooms.runner.run(request, _TOOL, arguments, take)


async def _as_far(asked: Asked) -> AsyncGenerator[bytes]:
    """Yield the body as far as it comes: what a cut leaves is what the client goes on from."""
    with suppress(ClientGone):
        async for piece in asked.body():
            yield piece


def _about(upload: Upload, received: int) -> Headers:
    expires = format_datetime(upload.expires_at, usegmt=True)
    return [(b"upload-offset", b"%d" % received), (b"upload-expires", expires.encode())]


def _metadata(header: str) -> dict[str, str]:
    """Return names and texts of `name base64, name base64`."""
    found: dict[str, str] = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        if not name:
            continue
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidArgument("Upload-Metadata: values are base64 of UTF-8") from None
    return found


def _own(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument("Upload-Metadata: metadata is a JSON object")
    return cast("dict[str, Any]", found)
