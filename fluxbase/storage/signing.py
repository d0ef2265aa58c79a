"""Signed URLs: what they allow, sealed; it must not know HTTP or what is stored.

Whoever has one acts as the caller who made it, for one method on one object and for a time: the
caller's own row-level security decides anew when it is used. A URL is passed on, so nobody but this
server can read in it who that is.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fluxbase.errors import Unauthenticated
from fluxbase.principal import Principal

Method = Literal["GET", "PUT"]
_LONGEST: Final = 8192
_NONCE: Final = 12
_OF_CALLER: Final = ("kind", "id", "name", "role", "claims", "user_id", "app_id", "client_id")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a signed URL allows; `expires` is in seconds of the Unix epoch."""

    method: Method
    bucket: str
    key: str
    expires: int
    who: Principal
    max_size: int | None = None
    content_type: str | None = None


class Signer:
    """Seals and opens passes, under a key that all instances have."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, allowed: Pass) -> str:
        """Return a pass as the token of a URL."""
        who = allowed.who
        body = {
            "method": allowed.method,
            "bucket": allowed.bucket,
            "key": allowed.key,
            "expires": allowed.expires,
            "max_size": allowed.max_size,
            "content_type": allowed.content_type,
            "who": {name: getattr(who, name) for name in _OF_CALLER},
            "scopes": sorted(who.scopes),
            "settings": who.settings,
        }
        # Random, so that two of 2^32 meet with less than one chance in 2^32 (NIST SP 800-38D, 8.3).
        nonce = os.urandom(_NONCE)
        return _text(nonce + self._cipher.encrypt(nonce, orjson.dumps(body), None))

    def open(self, token: str) -> Pass:
        """Return the pass in a token.

        Raises:
            Unauthenticated: it was not made here, or its time is over.
        """
        found = self._read(token) if len(token) <= _LONGEST else None
        if found is None:
            raise Unauthenticated("the signature of this URL is not valid")
        if found["expires"] < time.time():
            raise Unauthenticated("this URL has expired; ask for a new one")
        settings = tuple((str(name), str(value)) for name, value in found["settings"])
        who = Principal(**found["who"], scopes=frozenset(found["scopes"]), settings=settings)
        return Pass(
            found["method"],
            found["bucket"],
            found["key"],
            found["expires"],
            who,
            found["max_size"],
            found["content_type"],
        )

    def _read(self, token: str) -> dict[str, Any] | None:
        try:
            sealed = _bytes(token)
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (binascii.Error, ValueError, InvalidTag):
            return None
        return orjson.loads(plain)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data
