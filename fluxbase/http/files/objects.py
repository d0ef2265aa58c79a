"""`{api}/storage/{bucket}/{key}`: an object as a file; it must not know how bytes are kept.

Files are what users put there, so a browser is told to trust none of them: no guessing of types, no
scripts, and what could be a page is saved rather than shown.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from fluxbase.errors import (
    InvalidArgument,
    TooLarge,
    Unauthenticated,
    UnknownBucket,
    UnknownObject,
)
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.files.conditions import (
    RangeNotSatisfiable,
    Version,
    etag_of,
    verdict,
    wanted_range,
)
from fluxbase.http.files.entry import Asked, Rooms, whole
from fluxbase.storage.objects import PreconditionFailed, When

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from fluxbase.http.head import Headers
    from fluxbase.storage.objects import ObjectInfo
    from fluxbase.toolkit import Context

_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_SHOWN_KINDS: Final = ("audio/", "video/")
_SAFE: Final = [
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"same-site"),
    (b"accept-ranges", b"bytes"),
]


class ObjectRoute:
    """Reads, writes and deletes one object."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = Asked(scope, receive, send, self._rooms.gate)
        work = {"PUT": self._put, "DELETE": self._delete}.get(asked.method, self._get)
        started = time.perf_counter()
        outcome = "failed"
        try:
            await work(asked)
            outcome = "ok"
        except ClientGone:
            return
        except RangeNotSatisfiable as error:
            about = (b"content-range", b"bytes */%d" % error.size)
            await asked.refuse(self._rooms, error, [about])
        except Exception as error:  # noqa: BLE001 - the last one to catch it answers
            await asked.refuse(self._rooms, error)
        finally:
            name = f"storage/{asked.method.lower()}"
            self._rooms.observer.count(name, outcome, time.perf_counter() - started)

    async def _get(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, "download_object")
        bucket, key = asked.path["bucket"], asked.path["key"]
        objects = self._rooms.storage.objects

        async def find(ctx: Context) -> ObjectInfo:
            return await objects.find(ctx, bucket, key, asked.query.get("version"))

        arguments = {"bucket": bucket, "key": key}
        try:
            info = await self._rooms.runner.run(request, "download_object", arguments, find)
        except (UnknownObject, UnknownBucket):
            if asked.is_anonymous:  # there may be one for somebody
                raise Unauthenticated from None
            raise
        version = Version(info.etag, datetime.fromisoformat(info.last_modified))
        settled = verdict(asked.headers, version)
        if settled == 412:
            raise PreconditionFailed
        headers = [*version.headers, *_SAFE, (b"cache-control", _freshness(asked))]
        if settled == 304:
            await asked.answer(304, headers)
            return
        part = wanted_range(asked.headers, version, info.size)
        await self._send(asked, info, [*headers, *_described(asked, info)], part)

    async def _send(
        self, asked: Asked, info: ObjectInfo, headers: Headers, part: tuple[int, int] | None
    ) -> None:
        start, end = part or (0, info.size)
        if part is not None:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, info.size)))
        headers = [*asked.visit.headers(), *headers, (b"content-length", b"%d" % (end - start))]
        begin = {"type": "http.response.start", "status": 206 if part else 200, "headers": headers}
        if asked.method == "HEAD" or start == end:
            await asked.send(begin)
            await asked.send({"type": "http.response.body", "body": b""})
            return
        begun = False
        async with aclosing(self._rooms.storage.objects.bytes_of(info, start, end)) as pieces:
            async for piece in pieces:
                if not begun:  # only now is it sure that there is something to send
                    await asked.send(begin)
                    begun = True
                body = {"type": "http.response.body", "body": piece, "more_body": True}
                await asked.send(body)
        await asked.send({"type": "http.response.body", "body": b""})

    async def _put(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, "upload_object")
        bucket, key = asked.path["bucket"], asked.path["key"]
        size = whole(asked.headers.get("content-length"), "Content-Length")
        kind = asked.headers.get("content-type")
        if asked.allowed is not None:
            _check_pass(asked, size, kind)
        when = When(
            etag_of(asked.headers.get("if-match")),
            _must_be_new(asked.headers.get("if-none-match")),
        )

        async def keep(ctx: Context) -> tuple[dict[str, object], bool]:
            return await self._rooms.storage.objects.put(
                ctx, bucket, key, asked.body(), content_type=kind, size=size, when=when
            )

        arguments = {"bucket": bucket, "key": key, "size": size}
        told, new = await self._rooms.runner.run(request, "upload_object", arguments, keep)
        etag = (b"etag", f'"{told["etag"]}"'.encode())
        await asked.answer_json(201 if new else 200, told, [etag])

    async def _delete(self, asked: Asked) -> None:
        request = await asked.enter(self._rooms, "delete_object")
        bucket, key = asked.path["bucket"], asked.path["key"]
        when = When(etag_of(asked.headers.get("if-match")))

        async def delete(ctx: Context) -> None:
            await self._rooms.storage.objects.delete(ctx, bucket, key, when)

        arguments = {"bucket": bucket, "key": key}
        await self._rooms.runner.run(request, "delete_object", arguments, delete)
        await asked.answer(204, [])


def _described(asked: Asked, info: ObjectInfo) -> Headers:
    kind = info.content_type.partition(";")[0].strip().lower()
    shown = kind in _SHOWN or kind.startswith(_SHOWN_KINDS)
    how = "inline" if shown and "download" not in asked.query else "attachment"
    name = asked.query.get("download") or info.key.rpartition("/")[2]
    disposition = f"{how}; filename*=UTF-8''{quote(name, safe='')}"
    return [
        (b"content-type", info.content_type.encode("latin-1", "replace")),
        (b"content-disposition", disposition.encode()),
    ]


def _freshness(asked: Asked) -> bytes:
    # Whatever keeps it has to ask again, which an etag makes cheap.
    return b"public, no-cache" if asked.is_anonymous else b"private, no-cache"


def _must_be_new(header: str | None) -> bool:
    if header is None:
        return False
    if header.strip() != "*":
        raise InvalidArgument("If-None-Match: * is expected when something is uploaded")
    return True


def _check_pass(asked: Asked, size: int | None, kind: str | None) -> None:
    allowed = asked.allowed
    if allowed is None:
        return
    if size is None:
        raise InvalidArgument("Content-Length is needed with a signed URL")
    if allowed.max_size is not None and size > allowed.max_size:
        raise TooLarge(f"this URL takes at most {allowed.max_size} bytes")
    if allowed.content_type is not None and kind != allowed.content_type:
        raise InvalidArgument(f"Content-Type: this URL takes {allowed.content_type}")
