"""What buckets and objects may be called; pure.

A name never becomes a path: bytes are kept under an id. The rules are for those who read names: no
two of them look the same, and each can be written in a URL and in a list.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from fluxbase.errors import InvalidArgument

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]")
_RESERVED: Final = frozenset({"upload", "buckets"})
_MARKS: Final = frozenset("/!-_.*'() &$@=;:+,?")
_LONGEST: Final = 1024
_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
    r"(; ?[A-Za-z0-9-]{1,32}=(\"[ -!#-\[\]-~]{0,64}\"|[A-Za-z0-9!#$&^_.+-]{1,64})){0,4}"
)


def check_bucket(name: str) -> str:
    """Return the name of a bucket.

    Raises:
        InvalidArgument: it cannot be one.
    """
    if not _BUCKET.fullmatch(name) or name in _RESERVED:
        raise InvalidArgument(
            "bucket: 3 to 63 lower-case letters, digits, '-' and '_' are a bucket's name",
            hint="list_buckets shows the buckets there are",
        )
    return name


def check_key(key: str, what: str = "key") -> str:
    """Return the key of an object.

    Raises:
        InvalidArgument: it cannot be one.
    """
    if not key or len(key.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise InvalidArgument(f"{what}: 1 to {_LONGEST} bytes are expected")
    if unicodedata.normalize("NFC", key) != key:
        raise InvalidArgument(f"{what}: letters with marks must be composed (Unicode NFC)")
    if any(not _is_allowed(c) for c in key):
        raise InvalidArgument(
            f"{what}: letters, digits, '/' and the marks !-_.*'() &$@=;:+,? are allowed"
        )
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidArgument(f"{what}: no part between '/' may be empty, '.' or '..'")
    return key


def check_prefix(prefix: str) -> str:
    """Return the beginning of keys, which may end anywhere; the empty one is that of all.

    Raises:
        InvalidArgument: no key begins like this.
    """
    if prefix:
        check_key(prefix.removesuffix("/") or "x", "prefix")
    return prefix


def check_type(content_type: str) -> str:
    """Return a media type with its parameters.

    Raises:
        InvalidArgument: it is none, or too long.
    """
    if len(content_type) > 255 or not _TYPE.fullmatch(content_type):
        raise InvalidArgument("content_type: a type such as image/png is expected")
    return content_type


def _is_allowed(character: str) -> bool:
    return character in _MARKS or unicodedata.category(character)[0] in "LMN"
