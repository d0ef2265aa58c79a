"""Access tokens, checked strictly: python-jose does the signatures, this what it lets pass.

It knows no key files, no network and no database. Plain python-jose accepts a token without
`exp` or `aud`, unknown `crit`, duplicate claims and more; each has a test in
`tests/security/test_jwt_attacks.py`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase import strict_json
from fluxbase.auth.jwt_keys import VerificationKey, decode_base64url, load_keys
from fluxbase.errors import ConfigError, InvalidMessage, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.strict_json import JSON

__all__ = ["REQUIRED", "VerificationKey", "Verifier", "load_keys"]

REQUIRED: Final = ("exp", "iat", "sub", "iss", "aud", "jti")
MAX_TOKEN: Final = 16_384
MAX_HEADER: Final = 8_192
MAX_NAME: Final = 255
_MAX_DEPTH: Final = 16
# Far enough (year 5138), and small enough that milliseconds given by mistake are refused.
_MAX_TIME: Final = 10**11
_MAX_SKEW: Final = 300

_SHAPE: Final = re.compile(r"([\w-]++)\.([\w-]++)\.([\w-]++)", re.ASCII)
_TYPES: Final = frozenset({"jwt", "at+jwt"})
# Key material or extensions brought by the token itself: nothing here follows them, and a token
# that relies on them was made for somebody else.
_FORBIDDEN_HEADERS: Final = frozenset(
    {"crit", "jku", "jwk", "x5u", "x5c", "b64", "enc", "zip", "epk"}
)


class _Refused(Exception):
    """Why a token was refused: for the log through `__cause__`, never for the caller."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a token must be: signed by one of `keys`, by `issuer`, for one of `audience`.

    `max_lifetime` and `skew` are seconds. `required` may leave out only `iat` and `jti`.
    """

    keys: tuple[VerificationKey, ...]
    issuer: str
    audience: tuple[str, ...]
    max_lifetime: int = 3600
    skew: int = 60
    required: tuple[str, ...] = REQUIRED

    def __post_init__(self) -> None:
        if not self.keys or not self.issuer or not self.audience or not all(self.audience):
            raise ConfigError("auth: tokens need at least one key, an issuer and an audience")
        if self.max_lifetime <= 0 or not 0 <= self.skew <= _MAX_SKEW:
            raise ConfigError(f"auth: max_lifetime is positive and skew is 0 to {_MAX_SKEW} s")
        if not {"exp", "sub", "iss", "aud"} <= set(self.required):
            raise ConfigError("auth: exp, sub, iss and aud are always required")

    def verify(self, token: str, now: float | None = None) -> Mapping[str, JSON]:
        """Return the claims of a valid `token`.

        Raises:
            Unauthenticated: it is not valid, whatever the reason; `__cause__` has the reason.
        """
        try:
            claims = self._signed_claims(token)
            self._check_names(claims)
            self._check_times(claims, time.time() if now is None else now)
        except (_Refused, InvalidMessage) as reason:
            raise Unauthenticated from reason
        return claims

    def _signed_claims(self, token: str) -> dict[str, JSON]:
        parts = _SHAPE.fullmatch(token) if len(token) <= MAX_TOKEN else None
        if parts is None or len(parts[1]) > MAX_HEADER:
            raise _Refused("not three parts of base64url, or too long")
        key = self._key(_read(parts[1], "header"))
        signed = token[: parts.end(2)].encode()
        if not key.accepts(signed, _decode(parts[3], "signature")):
            raise _Refused("the signature is wrong")
        # Only now: nobody without a key gets to feed the claims to the parser.
        return _read(parts[2], "payload")

    def _key(self, header: Mapping[str, JSON]) -> VerificationKey:
        """Return the one key the header can mean."""
        if not _FORBIDDEN_HEADERS.isdisjoint(header):
            raise _Refused("a header parameter is not allowed")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _Refused("typ is not JWT or at+jwt")
        kid = header.get("kid")
        if not isinstance(kid, str) and "kid" in header:
            raise _Refused("kid is not text")
        # A named key first: then a key without kid cannot stand in for one of another algorithm.
        found = [key for key in self.keys if key.kid == kid] if kid is not None else []
        found = [
            key
            for key in found or self.keys
            if key.alg == header.get("alg") and (key.kid is None or kid in (None, key.kid))
        ]
        if len(found) != 1:
            raise _Refused("no key, or more than one, has this kid and alg")
        return found[0]

    def _check_names(self, claims: Mapping[str, JSON]) -> None:
        for name in self.required:
            if name not in claims:
                raise _Refused(f"{name} is missing")
        for name in ("sub", "jti"):
            if name in claims and not _is_name(claims[name]):
                raise _Refused(f"{name} is not 1 to {MAX_NAME} printable characters")
        if claims["iss"] != self.issuer:
            raise _Refused("iss is another issuer")
        aud = claims["aud"]
        audiences = aud if isinstance(aud, list) else [aud]
        if not all(_is_name(audience) for audience in audiences):
            raise _Refused("aud is not text or a list of texts")
        if not any(audience in self.audience for audience in audiences):
            raise _Refused("aud is another audience")

    def _check_times(self, claims: Mapping[str, JSON], now: float) -> None:
        expires = _time(claims, "exp")
        issued = _time(claims, "iat") if "iat" in claims else None
        starts = _time(claims, "nbf") if "nbf" in claims else now
        if expires <= now - self.skew:
            raise _Refused("expired")
        if starts > now + self.skew or (issued is not None and issued > now + self.skew):
            raise _Refused("not valid yet")
        # Without iat the life left is what can be bounded.
        if expires - (now if issued is None else issued) > self.max_lifetime:
            raise _Refused("lives longer than allowed")
        if issued is not None and expires <= issued:
            raise _Refused("expires before it was issued")


def _decode(text: str, part: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise _Refused(f"the {part} is {error}") from None


def _read(text: str, part: str) -> dict[str, JSON]:
    value = strict_json.loads(_decode(text, part), max_depth=_MAX_DEPTH)
    if not isinstance(value, dict):
        raise _Refused(f"the {part} is not an object")
    return value


def _is_name(value: JSON) -> bool:
    # Printable leaves out NUL and other controls, which Postgres refuses or logs would show.
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _time(claims: Mapping[str, JSON], name: str) -> int | float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(f"{name} is not a number")
    if not 0 <= value < _MAX_TIME:
        raise _Refused(f"{name} is out of range")
    return value
