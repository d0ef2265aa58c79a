"""The keys that check access tokens, loaded once at the start; reads no file and no network.

Every key has one algorithm, fixed here: what a token's header says can only agree or be refused.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JOSEError

from fluxbase import strict_json
from fluxbase.errors import ConfigError, InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbase.strict_json import JSON

MIN_RSA_BITS: Final = 2048
# RFC 7518 section 3.2: the secret is at least as long as the hash.
HMAC_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512")
EC_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}
EDDSA: Final = "EdDSA"
PUBLIC_ALGORITHMS: Final = (*RSA_ALGORITHMS, *EC_CURVES, EDDSA)

_CURVE_ALGORITHM: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
# Printed in public guides and found in many running systems; anyone can sign with them.
_KNOWN_SECRETS: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    }
)
_MIN_DISTINCT: Final = 8
_PEM_HINT: Final = "openssl pkey -in private.pem -pubout prints the public key"

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Ed25519Key(Key):
    """EdDSA over Ed25519 for python-jose, which has none; it only checks signatures."""

    def __init__(self, key: object, algorithm: str) -> None:
        super().__init__(key, algorithm)
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise JOSEError("an Ed25519 public key is needed")
        self._key = key

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Return whether `sig` is this key's signature of `msg`."""
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


jwk.register_key(EDDSA, Ed25519Key)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key with its one algorithm; a key without `kid` answers to every kid."""

    kid: str | None
    alg: str
    key: Key = field(repr=False)

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` over `message` was made with this key."""
        return self.key.verify(message, signature)


def load_keys(
    *,
    secret: str | None = None,
    public_keys: Sequence[tuple[str | None, str, str]] = (),
    jwks: str | None = None,
    hmac_alg: str = "HS256",
) -> tuple[VerificationKey, ...]:
    """Return the keys of a shared secret, of `(kid, algorithm, PEM)` entries and of a JWKS text.

    Raises:
        ConfigError: a key is weak, private, unreadable, not of its algorithm, or two cannot be
            told apart; the message names its place, never the key.
    """
    keys = [] if secret is None else [_secret_key(secret, hmac_alg)]
    keys += [_pem_key(f"public key {n}", *entry) for n, entry in enumerate(public_keys, start=1)]
    keys += [] if jwks is None else _jwks_keys(jwks)
    # Keys without kid answer to every kid, so two of one algorithm would both answer.
    names = {(key.kid, key.alg if key.kid is None else None) for key in keys}
    if len(names) < len(keys):
        raise ConfigError("auth: two token keys have the same kid, or none and one algorithm")
    return tuple(keys)


def decode_base64url(text: str) -> bytes:
    """Return the bytes of canonical base64url: no padding, no spare bits, nothing else.

    Raises:
        ValueError: the text is not the one spelling of its bytes.
    """
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not canonical base64url")
    return decoded


def _secret_key(secret: str, alg: str) -> VerificationKey:
    least = HMAC_BYTES.get(alg)
    if least is None:
        raise ConfigError(f"auth: a secret works with {', '.join(HMAC_BYTES)} only")
    # The environment hands over bytes that are not UTF-8 as surrogates; these give them back.
    content = secret.encode(errors="surrogateescape")
    if len(content) < least:
        raise ConfigError(
            f"auth: the token secret has {len(content)} bytes; {alg} needs at least {least}",
            hint="openssl rand -base64 48 makes one",
        )
    if secret in _KNOWN_SECRETS or len(set(content)) < _MIN_DISTINCT:
        raise ConfigError("auth: the token secret is a published example or a repetition")
    return VerificationKey(None, alg, _construct("the token secret", content, alg))


def _pem_key(place: str, kid: str | None, alg: str, pem: str) -> VerificationKey:
    if "PRIVATE KEY" in pem:
        raise _refused(place, "is a private key; give the public one", _PEM_HINT)
    if "PUBLIC KEY" not in pem:
        raise _refused(place, "is not a PEM public key", _PEM_HINT)
    try:
        public = load_pem_public_key(pem.encode(errors="surrogateescape"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _refused(place, "cannot be read", _PEM_HINT) from None
    return _public_key(place, kid, alg, public)


def _public_key(place: str, kid: str | None, alg: str, public: object) -> VerificationKey:
    """Return the key once it is known to be of its algorithm: jose itself checks neither."""
    if alg not in PUBLIC_ALGORITHMS:
        raise _refused(place, f"needs one of {', '.join(PUBLIC_ALGORITHMS)}")
    if kid is not None and not kid:
        raise _refused(place, "has an empty kid")
    if not _fits(public, alg):
        raise _refused(place, f"is not a key for {alg}")
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        raise _refused(place, f"has {public.key_size} bits; at least {MIN_RSA_BITS} are needed")
    return VerificationKey(kid, alg, _construct(place, public, alg))


def _fits(public: object, alg: str) -> bool:
    if alg in RSA_ALGORITHMS:
        return isinstance(public, rsa.RSAPublicKey)
    if alg == EDDSA:
        return isinstance(public, ed25519.Ed25519PublicKey)
    curve = EC_CURVES[alg].name
    return isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == curve


def _construct(place: str, key: object, alg: str) -> Key:
    try:
        return jwk.construct(key, alg)
    except JOSEError:
        raise _refused(place, f"cannot be used with {alg}") from None


def _jwks_keys(text: str) -> list[VerificationKey]:
    try:
        document = strict_json.loads(text.encode(errors="surrogateescape"), max_depth=8)
    except InvalidMessage as error:
        raise ConfigError(f"auth: the JWKS is not JSON: {error.message}") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigError('auth: the JWKS has no list "keys"')
    found = [_jwk_key(f"JWKS key {n}", entry) for n, entry in enumerate(entries, start=1)]
    keys = [key for key in found if key is not None]
    if not keys:
        raise ConfigError("auth: the JWKS has no key that signs with an algorithm known here")
    return keys


def _jwk_key(place: str, entry: JSON) -> VerificationKey | None:
    """Return the key of one JWKS entry; None for one not meant for signatures, as RFC 7517 says."""
    if not isinstance(entry, dict):
        raise _refused(place, "is not an object")
    if _PRIVATE_MEMBERS & entry.keys():
        raise _refused(place, "is a private key; give the public one")
    if entry.get("kty") == "oct" or "k" in entry:
        raise _refused(place, "is a shared secret, which a JWKS must not hold")
    alg = _jwk_algorithm(entry)
    if alg is None:
        return None
    kid = entry.get("kid")
    if not isinstance(kid, str | None):
        raise _refused(place, "has a kid that is not text")
    try:
        public = _jwk_public(entry)
    except (ValueError, KeyError, TypeError):
        raise _refused(place, "cannot be read") from None
    return _public_key(place, kid, alg, public)


def _jwk_algorithm(entry: Mapping[str, JSON]) -> str | None:
    """Return the one algorithm of the entry, implied by its kind where it does not say."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list):
        return None
    if "verify" not in operations:
        return None
    curve = entry.get("crv")
    implied = {"RSA": "RS256", "EC": _CURVE_ALGORITHM.get(str(curve))}.get(str(entry.get("kty")))
    if entry.get("kty") == "OKP" and curve == "Ed25519":
        implied = EDDSA
    alg = entry.get("alg", implied)
    return alg if isinstance(alg, str) and implied and alg in PUBLIC_ALGORITHMS else None


def _jwk_public(entry: Mapping[str, JSON]) -> _PublicKey:
    if entry["kty"] == "RSA":
        return rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()
    if entry["kty"] == "OKP":
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry, "x"))
    curve = EC_CURVES[_CURVE_ALGORITHM[cast("str", entry["crv"])]]
    point = ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), curve)
    return point.public_key()


def _number(entry: Mapping[str, JSON], name: str) -> int:
    return int.from_bytes(_bytes(entry, name), "big")


def _bytes(entry: Mapping[str, JSON], name: str) -> bytes:
    value = entry[name]
    if not isinstance(value, str):
        raise TypeError
    return decode_base64url(value)


def _refused(place: str, problem: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"auth: {place} {problem}", hint=hint)
