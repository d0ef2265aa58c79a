"""The headers of a request, and what was read in the same ones before; it judges nothing.

A client says the same in nearly every request of a connection. What follows from its headers alone
is worked out once and kept with the connection, for as long as they stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Headers = list[tuple[bytes, bytes]]
_MISSING: Any = object()
_LENGTH = b"content-length"


class Head(Headers):
    """Headers as ASGI has them: lower names and values, in the order they came.

    Of the same headers on one connection, but for the length of the body, all share `known`.
    """

    __slots__ = ("_same", "known")

    def __init__(self, headers: Headers, before: Head | None) -> None:
        super().__init__(headers)
        self._same = [header for header in headers if header[0] != _LENGTH]
        self.known: dict[Any, Any] = {}
        if before is not None and before._same == self._same:
            self.known = before.known


def once(headers: Headers, read: Callable[[Headers], T]) -> T:
    """Return what `read` makes of headers, which it may not change nor look at the length in.

    What it raises is not kept.
    """
    if not isinstance(headers, Head):
        return read(headers)
    found = headers.known.get(read, _MISSING)
    if found is _MISSING:
        found = headers.known[read] = read(headers)
    return found
