"""Turns a request as PostgREST's users write it into arguments of `query_table`, word for word.

It must not know what any of the words mean: only which argument a parameter belongs to.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

_WORDS: Final = frozenset({"select", "order", "limit", "offset"})
_NUMBERS: Final = frozenset({"limit", "offset"})
_SHAPES: Final = frozenset({"order", "limit", "offset"})
_WHOLE: Final = re.compile(r"[0-9]+")


def arguments(request: str) -> dict[str, Any]:
    """Return the arguments that ask the same as `/table?query`."""
    path, _, query = request.partition("?")
    asked: dict[str, Any] = {"table": unquote(path.removeprefix("/"))}
    filters: dict[str, Any] = {}
    embed: dict[str, dict[str, Any]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        path, dot, word = key.rpartition(".")
        if key in _WORDS:
            asked[key] = _number(key, value)
        elif dot and word in _SHAPES and _names(path):
            embed.setdefault(path, {})[word] = _number(word, value)
        else:
            _add(filters, key, value)
    if filters:
        asked["filter"] = filters
    if embed:
        asked["embed"] = embed
    return asked


def _names(path: str) -> bool:
    """Return whether this is a path of embeds, rather than part of a quoted name."""
    return '"' not in path


def _number(word: str, value: str) -> Any:
    return int(value) if word in _NUMBERS and _WHOLE.fullmatch(value) else value


def _add(filters: dict[str, Any], key: str, value: str) -> None:
    """Keep every value of a key that comes several times; all of them must hold."""
    if key not in filters:
        filters[key] = value
    elif isinstance(filters[key], list):
        filters[key].append(value)
    else:
        filters[key] = [filters[key], value]
