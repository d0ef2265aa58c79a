"""The headers of a request, and what was read in the same ones before; it judges nothing.

A client says the same in nearly every request of a connection. What follows from its headers alone
is worked out once and kept with the connection, for as long as they stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Headers = list[tuple[bytes, bytes]]
_MISSING: Any = object()
_LENGTH = b"content-length"


class Facts(NamedTuple):
    """What a connection has to know of a head before it takes the request."""

    size: int  # bytes of names, values and what stands between them
    hosts: int
    chunked: bool
    odd_coding: bool  # a transfer coding that is not chunked alone
    announces_body: bool
    expects_continue: bool


class Head(Headers):
    """Headers as ASGI has them: lower names and values, in the order they came.

    Of the same headers on one connection, but for the length of the body, all share `known`.
    """

    __slots__ = ("_raw", "_read", "_same", "facts", "known")

    def __init__(self, raw: Headers, before: Head | None) -> None:
        """Read headers as they came, which may have blanks at the end of a value."""
        self._raw = raw
        if before is not None and before._raw == raw:
            # Not what `before` holds itself, which an application may have added to.
            self._read, self._same = before._read, before._same
            self.facts, self.known = before.facts, before.known
            super().__init__(self._read)
            return
        self._read = [(name.lower(), value.strip(b" \t")) for name, value in raw]
        super().__init__(self._read)
        self.facts = _facts(self)
        self._same = [header for header in self if header[0] != _LENGTH]
        self.known: dict[Any, Any] = {}
        if before is not None and before._same == self._same:
            self.known = before.known


def _facts(headers: Headers) -> Facts:
    size = hosts = 0
    chunked = odd = announced = expects = False
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            hosts += 1
        elif name == _LENGTH:
            announced = value.strip(b"0") != b""
        elif name == b"expect":
            expects = value.lower() == b"100-continue"
        elif name == b"transfer-encoding":
            odd |= chunked or value.lower() != b"chunked"
            chunked = True
    return Facts(size, hosts, chunked, odd, announced or chunked, expects)


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
