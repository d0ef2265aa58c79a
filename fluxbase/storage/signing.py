"""Signed URLs: what they allow, sealed; it must not know HTTP or what is stored.

Whoever has one acts as the caller who made it, for one method on one object and for a time: the
caller's own row-level security decides anew when it is used.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from fluxbase.errors import Unauthenticated
from fluxbase.principal import Principal

Method = Literal["GET", "PUT"]
_LONGEST: Final = 8192
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
        self._key = key

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
        plain = orjson.dumps(body)
        return f"{_text(plain)}.{_text(self._mac(plain))}"

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
        body, _, mac = token.partition(".")
        try:
            plain = _bytes(body)
            if not hmac.compare_digest(self._mac(plain), _bytes(mac)):
                return None
        except (binascii.Error, ValueError):
            return None
        return orjson.loads(plain)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data
