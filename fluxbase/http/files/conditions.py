"""Conditional and range requests: what headers ask of a representation; pure.

Source: RFC 9110, 13 (conditional requests) and 14 (range requests).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAGS: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


class Version(NamedTuple):
    """What is compared: the strong etag and when it was changed last."""

    etag: str
    modified: datetime

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What an answer says of it."""
        stamp = format_datetime(self.modified.astimezone(UTC).replace(microsecond=0), usegmt=True)
        return [(b"etag", f'"{self.etag}"'.encode()), (b"last-modified", stamp.encode())]


def verdict(headers: Mapping[str, str], version: Version) -> int | None:
    """Return 412 or 304 when the request's conditions settle it; RFC 9110, 13.2.2."""
    match, unmodified = headers.get("if-match"), headers.get("if-unmodified-since")
    if match is not None:
        if not _is_one_of(version.etag, match, weak=False):
            return 412
    elif unmodified is not None and (at := _date(unmodified)) and _seconds(version) > at:
        return 412
    none_match, since = headers.get("if-none-match"), headers.get("if-modified-since")
    if none_match is not None:
        return 304 if _is_one_of(version.etag, none_match, weak=True) else None
    if since is not None and (at := _date(since)) and _seconds(version) <= at:
        return 304
    return None


def wanted_range(headers: Mapping[str, str], version: Version, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that are asked for; `None`: all of them.

    What is no single range of bytes is ignored, as the standard allows.

    Raises:
        RangeNotSatisfiable: nothing of it is there.
    """
    text, only = headers.get("range"), headers.get("if-range")
    found = _RANGE.fullmatch(text) if text is not None else None
    if found is None or (only is not None and not _is_current(only, version)):
        return None
    first, last = found[1], found[2]
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or start >= end:
        raise RangeNotSatisfiable(size)
    return start, end


class RangeNotSatisfiable(InvalidArgument):
    """The bytes that are asked for lie behind the end."""

    title, status = "The range lies behind the end of the object", 416

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def etag_of(header: str | None) -> str | None:
    """Return the one etag of an If-Match that a change carries.

    Raises:
        InvalidArgument: it is not one.
    """
    if header is None:
        return None
    found = re.fullmatch(r'"([\x21\x23-\x7e]*)"', header.strip())
    if found is None:
        raise InvalidArgument("If-Match: one etag in double quotes is expected")
    return found[1]


def _is_one_of(etag: str, header: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(
        found[1] == etag and (weak or not found[0].startswith("W/"))
        for found in _TAGS.finditer(header)
    )


def _is_current(only: str, version: Version) -> bool:
    if only.lstrip().startswith(('"', "W/")):
        return only.strip() == f'"{version.etag}"'
    return _date(only) == _seconds(version)


def _seconds(version: Version) -> datetime:
    return version.modified.astimezone(UTC).replace(microsecond=0)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
