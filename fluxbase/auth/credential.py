"""Finds the one credential of a request among its headers; it must not judge it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

from fluxbase.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADERS: Final = frozenset({b"x-client-key", b"x-service-key", b"authorization"})
_MAX: Final = 16384


@dataclass(slots=True)
class Credential:
    """A credential as it came in: under which header, and its text."""

    source: Literal["x-client-key", "x-service-key", "bearer"]
    text: str = field(repr=False)
    _digest: bytes | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the text; the credential may be asked for it in every request."""
        if self._digest is None:
            self._digest = sha256(self.text.encode()).digest()
        return self._digest


def find(headers: Iterable[tuple[bytes, bytes]]) -> Credential:
    """Return the credential of a request; names of headers are in lower case.

    Raises:
        Unauthenticated: there is none, more than one, or it is not text of a sane length.
    """
    found = [(name, value) for name, value in headers if name in _HEADERS]
    if len(found) != 1:
        raise Unauthenticated(
            "send exactly one of X-Client-Key, X-Service-Key and Authorization: Bearer"
        )
    name, value = found[0]
    value = value.strip(b" \t")
    if not value or len(value) > _MAX or not value.isascii():
        raise Unauthenticated
    text = value.decode("ascii")
    if name == b"x-client-key":
        return Credential("x-client-key", text)
    if name == b"x-service-key":
        return Credential("x-service-key", text)
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != "bearer" or not rest.strip():
        raise Unauthenticated
    return Credential("bearer", rest.strip())
