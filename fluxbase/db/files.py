"""Finds the SQL files, in an installed wheel or in a checkout; it must not read them as SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def sql_dir() -> Path:
    """Return the folder that holds `migrations/`, `queries/` and the other SQL files."""
    installed = _PACKAGE / "_sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"
