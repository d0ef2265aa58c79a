"""Cuts long texts into parts where a reader would; pure."""

from __future__ import annotations

from typing import Final

# Where a text may be cut, the best first; a mark stays with what it ends.
_ENDS: Final = (("\n\n",), ("\n",), (". ", "! ", "? ", "。"), (" ", "\t"))


def split(text: str, size: int, overlap: int) -> list[str]:
    """Return the parts of a text, none empty and none longer than `size` characters.

    Args:
        text: what is cut.
        size: most characters of a part.
        overlap: characters at its beginning that a part repeats of the one before, at most.
    """
    parts: list[str] = []
    start = 0
    while start < len(text):
        end = _end(text, start, size)
        part = text[start:end].strip()
        if part:
            parts.append(part)
        if end == len(text):
            break
        start = _next(text, start, end, overlap)
    return parts


def _end(text: str, start: int, size: int) -> int:
    """Return where a part ends: at the best mark of its second half, or where it is full."""
    full = start + size
    if full >= len(text):
        return len(text)
    least = start + max(1, size // 2)
    for marks in _ENDS:
        ends = [at + len(mark) for mark in marks if (at := text.rfind(mark, least, full)) >= 0]
        if ends:
            return max(ends)
    return full


def _next(text: str, start: int, end: int, overlap: int) -> int:
    """Return where the next part begins: at a word, and always behind the last beginning."""
    begin = max(end - overlap, start + 1)
    if overlap and begin < end and not text[begin - 1].isspace():
        space = text.find(" ", begin, end)
        # Some scripts have no blanks between words; there any character may begin a part.
        begin = space + 1 if space >= 0 else begin
    return begin
