"""Opaque cursors over a list in fixed order; it must not know what is listed."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

from fluxbase.mcp.wire import INVALID_PARAMS, ProtocolError

T = TypeVar("T")


class Pager:
    """Cuts lists into pages of `size`."""

    def __init__(self, size: int) -> None:
        self._size = size

    def page(self, items: list[T], cursor: object) -> tuple[list[T], str | None]:
        """Return one page and the cursor of the next one, if there is more.

        Raises:
            ProtocolError: the cursor was not made here.
        """
        start = 0 if cursor is None else _read(cursor)
        if start > len(items):
            raise ProtocolError(INVALID_PARAMS, "the cursor is not valid", status=200)
        end = start + self._size
        return items[start:end], _write(end) if end < len(items) else None


def _write(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o{offset}".encode()).decode()


def _read(cursor: object) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()) if isinstance(cursor, str) else b""
    except (binascii.Error, ValueError):
        text = b""
    if not (text.startswith(b"o") and text[1:].isdigit() and len(text) < 12):
        raise ProtocolError(INVALID_PARAMS, "the cursor is not valid", status=200)
    return int(text[1:])
