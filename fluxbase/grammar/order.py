"""Reads `order`: `created_at.desc.nullslast, author(name)`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from fluxbase.grammar.scan import Scanner
from fluxbase.grammar.tree import Field, Nulls, Sort
from fluxbase.grammar.words import nearest, shown, wrong

_MOST: Final = 32
_KEPT: Final = 512
_LONGEST_KEPT: Final = 1024
_DIRECTIONS: Final = ("asc", "desc")
_NULLS: Final[dict[str, Nulls]] = {"nullsfirst": "first", "nullslast": "last"}


def parse(text: str | None, where: str = "order") -> tuple[Sort, ...]:
    """Return the sorting of `a.desc,b` or `a desc nullslast, b`; nothing when there is no text.

    Raises:
        InvalidFilter: the text is not well formed; the message tells the character.
    """
    if text is None or not text.strip():
        return ()
    return _kept(text, where) if len(text) <= _LONGEST_KEPT else _parse(text, where)


def _parse(text: str, where: str) -> tuple[Sort, ...]:
    if text.count(",") >= _MOST:
        raise wrong(where, f"more than {_MOST} columns")
    scanner = Scanner(text, where)
    found: list[Sort] = []
    while True:
        found.append(_one(scanner))
        if not scanner.take(","):
            break
    if not scanner.at_end:
        raise scanner.wrong("a comma is missing", "write 'created_at.desc,id'")
    return tuple(found)


_kept = lru_cache(maxsize=_KEPT)(_parse)


def _one(scanner: Scanner) -> Sort:
    scanner.blanks()
    at = scanner.place
    if scanner.at_end or scanner.sees(","):
        raise scanner.wrong("an item is empty", "write 'created_at.desc,id'")
    field, scanner.place = _named(scanner)
    relation = None
    if not field.path and scanner.take("("):
        relation, field = field.name, scanner.field()
        scanner.expect(")", "')' is missing")
    descending, nulls = None, None
    while True:
        scanner.blanks()
        if scanner.place >= len(scanner.text) or scanner.sees(","):
            return Sort(field, bool(descending), nulls, relation, at)
        scanner.take(".")
        place = scanner.place
        word = _modifier(scanner)
        if word in _DIRECTIONS and descending is None:
            descending = word == "desc"
        elif word in _NULLS and nulls is None:
            nulls = _NULLS[word]
        elif word in _DIRECTIONS or word in _NULLS:
            raise scanner.wrong("a second direction", at=place)
        else:
            near = nearest(word, (*_DIRECTIONS, *_NULLS))
            raise scanner.wrong(f"unknown word {shown(word)}{near}", at=place)


def _modifier(scanner: Scanner) -> str:
    """Return the next word about how to sort; SQL's `NULLS LAST` is one word here."""
    wanted = "'asc', 'desc', 'nullsfirst' or 'nullslast'"
    word = scanner.name(wanted, blanks=False).lower()
    return word + scanner.name(wanted, blanks=False).lower() if word == "nulls" else word


def _named(scanner: Scanner) -> tuple[Field, int]:
    """Return the field and where it ends; words at its end that say how to sort are not of it."""
    start = scanner.place
    field = scanner.field()
    words = field.name.split(" ")
    if scanner.text.startswith('"', start) or field.path or len(words) == 1:
        return field, scanner.place
    while len(words) > 1:
        last, before = words[-1].lower(), words[-2].lower()
        if last in ("first", "last") and before == "nulls" and len(words) > 2:
            words.pop()
        elif last and last not in (*_DIRECTIONS, *_NULLS):
            break
        words.pop()
    name = " ".join(words)
    return Field(name), start + len(name)
