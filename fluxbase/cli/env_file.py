"""Reads files of `NAME=value` lines; it must not know what they are for, nor tell a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read(path: Path) -> dict[str, str]:
    r"""Return the values of a file by their names.

    Values may be in single quotes, as they stand, or in double ones, with `\n`, `\"` and the like.
    What follows ` #` outside of quotes is a comment.

    Raises:
        InvalidArgument: it cannot be read, or has a line that is none; it says which.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InvalidArgument("--env-file: the file cannot be read as UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        said = _LINE.fullmatch(line)
        value = None if said is None else _value(said[2])
        if said is None or value is None:
            raise InvalidArgument(f"--env-file, line {number}: NAME=value is expected")
        if said[1] in found:
            raise InvalidArgument(f"--env-file, line {number}: its name came before")
        found[said[1]] = value
    return found


def _value(text: str) -> str | None:
    if text.startswith('"'):
        said = _DOUBLE.fullmatch(text)
        unescaped = said and re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), said[1])
        return unescaped or (None if said is None else "")
    if text.startswith("'"):
        said = _SINGLE.fullmatch(text)
        return None if said is None else said[1]
    return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0]
