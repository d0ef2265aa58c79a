"""Reads procedures from files: a function in SQL, and comments that say for whom it is; pure.

`rpc/orders/close_order.sql` is `orders.close_order`; a file that lies in the folder itself belongs
to the namespace `default`. Lines such as `-- @roles authenticated` come before the SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import InvalidArgument
from fluxbase.principal import parse_scopes
from fluxbase.toolkit import annotations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    rules = annotations.read(shown, text, "--", _RULES)
    file = File(shown, namespace, path.stem, text, rules)
    _check(file)
    return file


def _check(file: File) -> None:
    if not (file.rules.get("public") or file.rules.get("roles")):
        raise InvalidArgument(
            f"{file.path}: nobody may call it", hint="-- @public, or -- @roles authenticated"
        )
    if file.rules.get("cache") and not file.rules.get("read_only"):
        raise InvalidArgument(f"{file.path}: @cache is for procedures that are @read-only")


def _roles(value: str) -> list[str]:
    return list(annotations.words(value))


def _scopes(value: str) -> list[str]:
    return list(parse_scopes(value))


def _rows(value: str) -> int:
    rows = int(value)
    if not 1 <= rows <= _MOST_ROWS:
        raise ValueError(value)
    return rows


_RULES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "public": ("public", annotations.flag),
    "roles": ("roles", _roles),
    "scopes": ("scopes", _scopes),
    "timeout": ("timeout", annotations.seconds(_LONGEST)),
    "max-rows": ("max_rows", _rows),
    "read-only": ("read_only", annotations.flag),
    "cache": ("cache", annotations.seconds(_KEPT_LONGEST, zero=True)),
}
