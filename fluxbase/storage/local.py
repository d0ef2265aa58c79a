"""Keeps blobs in a folder; it must not know buckets, names or callers.

A blob is written under a temporary name, brought to the disk, and only then linked to its own, so
that a crash at any point leaves either all of it or nothing that counts. No part of a path comes
from a caller.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import threading
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from fluxbase.storage.store import MissingBlob, Stored, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable
    from io import FileIO
    from pathlib import Path

_PIECE: Final = 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalStore:
    """A folder of blobs: `blobs/<2 digits>/<id>`, and `incoming` for what is being written."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._incoming = folder / "incoming"

    async def put(self, blob: str, source: AsyncIterable[bytes]) -> Stored:
        """Keep all that the source gives; see `Store`."""
        target = self._path(blob)
        passing = self._incoming / f"{target.name}.{secrets.token_hex(4)}"
        writer = await asyncio.to_thread(_Writer, passing)
        try:
            waiting = bytearray()
            async for piece in source:
                waiting += piece
                if len(waiting) >= _PIECE:
                    await asyncio.to_thread(writer.write, bytes(waiting))
                    waiting.clear()
            return await asyncio.to_thread(writer.finish, bytes(waiting), target)
        finally:
            await asyncio.shield(asyncio.to_thread(writer.discard))

    async def get(self, blob: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the bytes of a blob; see `Store`."""
        # A file, not its number: cancelled now, nobody is left to close what the thread opens.
        file = await asyncio.to_thread(_open_to_read, self._path(blob))
        with file:
            position = start
            while end is None or position < end:
                size = _PIECE if end is None else min(_PIECE, end - position)
                piece = await asyncio.to_thread(os.pread, file.fileno(), size, position)
                if not piece:
                    return
                position += len(piece)
                yield piece

    async def size(self, blob: str) -> int | None:
        """Return the size of a blob; see `Store`."""
        return await asyncio.to_thread(_size, self._path(blob))

    async def delete(self, blob: str) -> None:
        """Remove a blob; see `Store`."""
        await asyncio.to_thread(self._delete, self._path(blob))

    async def blobs(self) -> AsyncGenerator[str]:
        """Yield the ids of all blobs; see `Store`."""
        for folder in await asyncio.to_thread(_names, self._blobs):
            for name in await asyncio.to_thread(_names, self._blobs / folder):
                with suppress(ValueError):
                    yield str(UUID(name))

    async def check(self) -> None:
        """See that the folder can be written; see `Store`."""

        async def nothing() -> AsyncGenerator[bytes]:
            yield b"fluxbase"

        probe = str(uuid4())
        await self.put(probe, nothing())
        await self.delete(probe)

    async def close(self) -> None:
        """Do nothing: nothing is kept open."""

    def _path(self, blob: str) -> Path:
        name = UUID(blob).hex  # whatever else it is, it is no id of ours
        return self._blobs / name[:2] / name

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            for left in self._incoming.glob(f"{path.name}.*"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(error) from error


class _Writer:
    """One file that is being written.

    A thread cannot be cancelled: when its caller gives up, it may still be writing. So whoever
    closes the file waits for it; the number of a closed file may be another file's by then.
    """

    def __init__(self, passing: Path) -> None:
        self._passing = passing
        self._turns = threading.RLock()
        self._closed = False
        self._digest = sha256()
        self._size = 0
        try:
            passing.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(passing, flags, 0o600), "wb", buffering=0)
        except OSError as error:
            raise _failed(error) from error

    def write(self, piece: bytes) -> None:
        """Write a piece."""
        with self._turns:
            if self._closed:
                raise StoreUnavailable("the file was given up")
            left = memoryview(piece)
            try:
                while left:
                    left = left[os.write(self._file.fileno(), left) :]
            except OSError as error:
                raise _failed(error) from error
            self._digest.update(piece)
            self._size += len(piece)

    def finish(self, piece: bytes, target: Path) -> Stored:
        """Write the last piece and give the file its own name, both for good."""
        with self._turns:
            self.write(piece)
            try:
                os.fsync(self._file.fileno())
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # Unlike a rename, a link never replaces what is there.
                os.link(self._passing, target, follow_symlinks=False)
                for folder in (target.parent, target.parent.parent):
                    _sync_folder(folder)
            except OSError as error:
                raise _failed(error) from error
            return Stored(self._size, self._digest.hexdigest())

    def discard(self) -> None:
        """Remove the temporary name, whether there is another one by now or not."""
        with self._turns:
            self._closed = True
            self._file.close()
            self._passing.unlink(missing_ok=True)


def _open_to_read(path: Path) -> FileIO:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags), "rb", buffering=0)
    except FileNotFoundError:
        raise MissingBlob from None
    except OSError as error:
        raise _failed(error) from error


def _size(path: Path) -> int | None:
    try:
        return path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(error) from error


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is wanted
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(error) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(error: OSError) -> StoreUnavailable:
    if error.errno in _FULL:
        return StoreUnavailable("the disk of the storage folder is full", retry_after=60)
    if error.errno == errno.EEXIST:
        return StoreUnavailable("a blob of this id is there already")
    return StoreUnavailable("the storage folder cannot be used", retry_after=10)
