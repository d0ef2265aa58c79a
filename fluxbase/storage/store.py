"""What keeps bytes: the contract of every backend; it must not know buckets, names or callers.

Bytes are kept under the id of a blob, which is a UUID of ours and never a caller's text. A backend
passes `tests/integration/storage/test_stores.py`, whatever it is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable


class Stored(NamedTuple):
    """What was written: its size in bytes and its SHA-256 as hexadecimal digits."""

    size: int
    checksum: str


class MissingBlob(Unavailable):
    """A blob that should be there is not: it was deleted a moment ago, or is lost."""

    title = "The bytes of the object are not there"


class StoreUnavailable(Unavailable):
    """The backend does not answer, is full, or refuses what it is asked."""

    title = "The storage backend is not available"


class Store(Protocol):
    """Keeps blobs."""

    async def put(self, blob: str, source: AsyncIterable[bytes]) -> Stored:
        """Keep all that the source gives; afterwards it is there whole and for good, or not at all.

        A blob that is there already is not overwritten. An error of the source passes through, and
        leaves nothing behind.

        Raises:
            StoreUnavailable: it could not be kept, or is there already.
        """
        ...

    def get(self, blob: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the bytes from `start` up to but not including `end`, in pieces.

        Raises:
            MissingBlob: there is no such blob.
            StoreUnavailable: it cannot be read.
        """
        ...

    async def size(self, blob: str) -> int | None:
        """Return how many bytes a blob has; `None` when it is not there.

        Raises:
            StoreUnavailable: that cannot be told.
        """
        ...

    async def delete(self, blob: str) -> None:
        """Remove a blob and all that is left of attempts to write it; doing it again does nothing.

        Raises:
            StoreUnavailable: it could not be removed.
        """
        ...

    def blobs(self) -> AsyncGenerator[str]:
        """Yield the ids of all blobs.

        Raises:
            StoreUnavailable: they cannot be listed.
        """
        ...

    async def check(self) -> None:
        """See that bytes can be written and read.

        Raises:
            StoreUnavailable: they cannot.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...
