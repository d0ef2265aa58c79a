"""Reads what comments before code say of it (`-- @public`, `// @roles a, b`); knows no rule."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fluxbase.config.duration import seconds as duration
from fluxbase.errors import FluxbaseError, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rules = Mapping[str, tuple[str, Callable[[str], Any]]]


def read(path: str, text: str, mark: str, rules: Rules) -> dict[str, Any]:
    """Return what is said before the first line of code, by the keys of the rules.

    Args:
        path: how errors call the file.
        text: the code.
        mark: what begins a comment, such as `--`.
        rules: for each word its key, and what makes a value of its text or raises `ValueError`.

    Raises:
        InvalidArgument: a word is unknown or its value wrong; the message has the line.
    """
    line_of = re.compile(rf"{re.escape(mark)}\s*@([a-z-]+)\s*(.*)")
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(mark):
            break
        said = line_of.fullmatch(line.strip())
        if said is not None:
            key, value = _rule(f"{path}, line {number}", said[1], said[2].strip(), rules)
            found[key] = value
    return found


def _rule(place: str, word: str, value: str, rules: Rules) -> tuple[str, Any]:
    if word not in rules:
        close = get_close_matches(word, rules, n=1)
        hint = f"did you mean @{close[0]}?" if close else "known: @" + ", @".join(rules)
        raise InvalidArgument(f"{place}: no such annotation", hint=hint)
    key, parse = rules[word]
    try:
        return key, parse(value)
    except (FluxbaseError, ValueError):
        raise InvalidArgument(f"{place}: @{word} has a value that it does not take") from None


def flag(value: str) -> bool:
    """Return whether it is set; the word alone sets it."""
    if value not in ("", "true", "false"):
        raise ValueError(value)
    return value != "false"


def words(value: str) -> tuple[str, ...]:
    """Return the words of a list with commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def seconds(longest: float, *, zero: bool = False) -> Callable[[str], float]:
    """Return what reads a duration up to `longest` seconds; `zero` takes none for one too."""

    def parse(value: str) -> float:
        found = duration(value)
        if found > longest or found < 0 or (found == 0 and not zero):
            raise ValueError(value)
        return found

    return parse
