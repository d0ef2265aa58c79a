"""How a call's words are shown back in errors, and the nearest word that would be right."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from fluxbase.errors import InvalidFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN: Final = 63
_COMPARED: Final = 150  # comparing takes time by their number


def shown(word: str) -> str:
    """Return a name as an error may show it: short and printable."""
    return f"'{word}'" if word.isprintable() and 0 < len(word) <= _SHOWN else "(not a name)"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` or nothing."""
    if len(word) > _SHOWN:  # comparing takes time and memory by the length of the word
        return ""
    close = get_close_matches(word, list(known)[:_COMPARED], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def wrong(where: str, what: str, hint: str | None = None) -> InvalidFilter:
    """Return the error of a filter, select or order at `where`."""
    return InvalidFilter(f"{where}: {what}", hint=hint)
