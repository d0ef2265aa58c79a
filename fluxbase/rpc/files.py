"""Reads procedures from files: a function in SQL, and comments that say for whom it is; pure.

`rpc/orders/close_order.sql` is `orders.close_order`; a file that lies in the folder itself belongs
to the namespace `default`. Lines such as `-- @roles authenticated` come before the SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from fluxbase.config.duration import seconds as duration
from fluxbase.errors import FluxbaseError, InvalidArgument
from fluxbase.principal import parse_scopes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LINE: Final = re.compile(r"--\s*@([a-z-]+)\s*(.*)")
_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_MOST_ROWS: Final = 100_000
_LONGEST: Final = 3600.0
_KEPT_LONGEST: Final = 86_400.0


@dataclass(slots=True)
class File:
    """One procedure as its file has it."""

    path: str
    namespace: str
    name: str
    text: str
    rules: dict[str, Any] = field(default_factory=dict[str, Any])


def read(folder: Path) -> list[File]:
    """Return the procedures of a folder and of the folders in it, in the order of their names.

    Raises:
        InvalidArgument: there is no such folder, or a file cannot be read; it says which and where.
    """
    if not folder.is_dir():
        raise InvalidArgument("--dir: there is no such folder")
    found = [*folder.glob("*.sql"), *folder.glob("*/*.sql")]
    return [_file(path, folder) for path in sorted(found)]


def _file(path: Path, folder: Path) -> File:
    shown = path.relative_to(folder).as_posix()
    namespace = path.parent.name if path.parent != folder else "default"
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidArgument(f"{shown}: a namespace has small letters, digits, '_' and '-'")
    if not _NAME.fullmatch(path.stem):
        raise InvalidArgument(f"{shown}: a procedure's name has letters, digits, '_' and '-'")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidArgument(f"{shown}: the file cannot be read as UTF-8") from None
    file = File(shown, namespace, path.stem, text)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        said = _LINE.fullmatch(line.strip())
        if said is not None:
            _rule(file, number, said[1], said[2].strip())
    _check(file)
    return file


def _check(file: File) -> None:
    if not (file.rules.get("public") or file.rules.get("roles")):
        raise InvalidArgument(
            f"{file.path}: nobody may call it", hint="-- @public, or -- @roles authenticated"
        )
    if file.rules.get("cache") and not file.rules.get("read_only"):
        raise InvalidArgument(f"{file.path}: @cache is for procedures that are @read-only")


def _rule(file: File, number: int, word: str, value: str) -> None:
    place = f"{file.path}, line {number}"
    if word not in _RULES:
        close = get_close_matches(word, _RULES, n=1)
        hint = f"did you mean @{close[0]}?" if close else "known: @" + ", @".join(_RULES)
        raise InvalidArgument(f"{place}: no such annotation", hint=hint)
    key, parse = _RULES[word]
    try:
        file.rules[key] = parse(value)
    except (FluxbaseError, ValueError):
        raise InvalidArgument(f"{place}: @{word} has a value that it does not take") from None


def _flag(value: str) -> bool:
    if value not in ("", "true", "false"):
        raise ValueError(value)
    return value != "false"


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _scopes(value: str) -> list[str]:
    return list(parse_scopes(value))


def _rows(value: str) -> int:
    rows = int(value)
    if not 1 <= rows <= _MOST_ROWS:
        raise ValueError(value)
    return rows


def _seconds(value: str) -> float:
    seconds = duration(value)
    if not 0 < seconds <= _LONGEST:
        raise ValueError(value)
    return seconds


def _kept(value: str) -> float:
    seconds = duration(value)
    if not 0 <= seconds <= _KEPT_LONGEST:
        raise ValueError(value)
    return seconds


_RULES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "public": ("public", _flag),
    "roles": ("roles", _words),
    "scopes": ("scopes", _scopes),
    "timeout": ("timeout", _seconds),
    "max-rows": ("max_rows", _rows),
    "read-only": ("read_only", _flag),
    "cache": ("cache", _kept),
}
