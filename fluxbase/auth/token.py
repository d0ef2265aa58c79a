"""The key strings clients hold: made, read back and compared here; knows no database.

`fbk_<id 8>_<secret 32>_<check 6>` is a client key, `fbs_…` a service key. The id is public and
becomes part of a Postgres role name, hence its alphabet; the checksum lets a typing error or a
random guess be refused without asking the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Final, Literal

KeyKind = Literal["client_key", "service_key"]

# Without l, o, 0 and 1, which people confuse; lower case, which Postgres folds names to.
ID_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
ID_LENGTH: Final = 8
SECRET_LENGTH: Final = 32
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH: Final = 6
_ID: Final = slice(4, 4 + ID_LENGTH)
_PAIRS: Final = tuple(a + b for a in _BASE62 for b in _BASE62)

_PREFIXES: Final[dict[KeyKind, str]] = {"client_key": "fbk", "service_key": "fbs"}
_KINDS: Final[dict[str, KeyKind]] = {prefix: kind for kind, prefix in _PREFIXES.items()}
_SHAPE: Final = re.compile(
    rf"(fb[ks])_([{ID_ALPHABET}]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})"
    rf"_([0-9A-Za-z]{{{_CHECK_LENGTH}}})",
    re.ASCII,
)
# Compared with when the id is unknown; a real MAC equals it with a chance of 2^-256.
_NO_MAC: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Token:
    """One key in the clear; `id` may be shown and logged, `secret` and `text` never."""

    kind: KeyKind
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The whole key string, shown to its owner once."""
        body = f"{_PREFIXES[self.kind]}_{self.id}_{self.secret}"
        return f"{body}_{_check(body)}"


def new(kind: KeyKind) -> Token:
    """Return a fresh key: 40 random bits of id, 190 random bits of secret."""
    return Token(kind, _random(ID_ALPHABET, ID_LENGTH), _random(_BASE62, SECRET_LENGTH))


def parse(text: str) -> Token | None:
    """Return the token `text` spells, or None when its form or checksum is wrong."""
    match = _SHAPE.fullmatch(text)
    # Not a comparison of secrets: whoever knows the rest of the key can compute the checksum.
    if match is None or _check(text[: -_CHECK_LENGTH - 1]) != match[4]:
        return None
    return Token(_KINDS[match[1]], match[2], match[3])


def id_in(text: str) -> str:
    """Return what stands where a key has its id; of any other text it is nothing in particular."""
    return text[_ID]


def mac(pepper: bytes, token: Token) -> bytes:
    """Return the 32 bytes stored in place of the key.

    A fast hash is right here: 190 random bits cannot be guessed, and a slow one would let anybody
    keep the server busy. It covers kind and id too, so a stored value fits no other row.
    """
    text = f"{_PREFIXES[token.kind]}_{token.id}_{token.secret}"
    return hmac.digest(pepper, text.encode(), hashlib.sha256)


def matches(pepper: bytes, token: Token, stored: bytes | None) -> bool:
    """Return whether `token` is the one stored; as long for None (no such id) as for a wrong one.

    The time depends on neither value.
    """
    equal = hmac.compare_digest(mac(pepper, token), _NO_MAC if stored is None else stored)
    return equal and stored is not None


def _check(body: str) -> str:
    high, low = divmod(zlib.crc32(body.encode()), len(_PAIRS))
    high, middle = divmod(high, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
