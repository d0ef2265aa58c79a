"""Makes and reads access tokens; it must not know whether what was granted still holds.

They are signed with ES256 under a key that every instance derives from the pepper, so that none has
to be kept or handed round; a new pepper brings a new key, and the old ones verify as long as their
peppers are in the ring. Sources: RFC 9068 (at+jwt), RFC 7517 (JWKS).
"""

from __future__ import annotations

import base64
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwt

from fluxbase.auth.jwt import Verifier, load_keys
from fluxbase.auth.jwt_keys import decode_base64url
from fluxbase.errors import InvalidMessage
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.auth.pepper import Peppers

_PURPOSE: Final = "oauth signing key"
# The order of P-256 (FIPS 186-4, D.1.2.3): a private key is a number from 1 to one less.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class AccessTokens:
    """The access tokens of one issuer for one resource."""

    def __init__(self, peppers: Peppers, *, issuer: str, resource: str, lifetime: int) -> None:
        self.issuer = issuer
        self.resource = resource
        self.lifetime = lifetime
        keys = {version: _key(peppers.derive(_PURPOSE, version)) for version in peppers.ring}
        self._public = {_kid(key): key.public_key() for key in keys.values()}
        current = keys[peppers.current]
        self._kid = _kid(current)
        self._pem = current.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self._verifier = Verifier(
            load_keys(public_keys=[(k, "ES256", _pem(key)) for k, key in self._public.items()]),
            issuer,
            (resource,),
            max_lifetime=lifetime,
        )

    def issue(
        self, *, grant: str, user: str, client: str, scopes: tuple[str, ...]
    ) -> tuple[str, int]:
        """Return a token and its lifetime in seconds."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.resource,
            "client_id": client,
            "scope": " ".join(scopes),
            "grant_id": grant,
            "iat": now,
            "exp": now + self.lifetime,
            "jti": secrets.token_urlsafe(12),
        }
        headers = {"typ": "at+jwt", "kid": self._kid}
        token: str = jwt.encode(claims, self._pem, algorithm="ES256", headers=headers)
        return token, self.lifetime

    def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            Unauthenticated: it was not made here for this resource, or is over.
        """
        return self._verifier.verify(token)

    def is_ours(self, token: str) -> bool:
        """Return whether a token names a key of ours; that proves nothing yet."""
        try:
            header = loads(decode_base64url(token.partition(".")[0]), max_depth=4)
        except (ValueError, InvalidMessage):
            return False
        return isinstance(header, dict) and header.get("kid") in self._public

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK set."""
        return {"keys": [_jwk(kid, key) for kid, key in self._public.items()]}


def _key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    wide = sha256(b"1" + seed).digest() + sha256(b"2" + seed).digest()
    return ec.derive_private_key(int.from_bytes(wide) % (_ORDER - 1) + 1, ec.SECP256R1())


def _kid(key: ec.EllipticCurvePrivateKey) -> str:
    return sha256(_pem(key.public_key()).encode()).hexdigest()[:16]


def _pem(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _jwk(kid: str, key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _coordinate(numbers.x),
        "y": _coordinate(numbers.y),
        "kid": kid,
        "alg": "ES256",
        "use": "sig",
    }


def _coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32)).decode().rstrip("=")
