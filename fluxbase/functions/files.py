"""Reads functions from a folder: their files, and comments that say for whom they are; pure.

`functions/hello.ts` and `functions/hello/index.ts` are `default.hello`; `functions/shop/hello.ts`
and `functions/shop/hello/index.ts` are `shop.hello`. What lies in `_shared` may be imported by all
of them, by its path. Lines such as `// @roles authenticated` come before the code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import InvalidArgument
from fluxbase.functions.deploy import Rules
from fluxbase.principal import parse_scopes
from fluxbase.toolkit import annotations

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED: Final = "_shared"
TYPES: Final = Path(__file__).with_name("fluxbase.d.ts")
_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_CODE: Final = (".ts", ".tsx", ".js", ".mjs", ".json")
_ENTRIES: Final = (".ts", ".tsx", ".js", ".mjs")
_LONGEST: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Source:
    """One function as its folder has it; `path` is the file to begin with."""

    path: str
    namespace: str
    name: str
    files: dict[str, str]
    rules: Rules = field(default_factory=Rules)


def read(folder: Path, seconds: float) -> list[Source]:
    """Return the functions of a folder, in the order of their names.

    Args:
        folder: where they lie.
        seconds: the time limit of those that say none.

    Raises:
        InvalidArgument: there is no such folder, or a file cannot be read; it says which and where.
    """
    if not folder.is_dir():
        raise InvalidArgument("--dir: there is no such folder")
    shared = _texts(folder / SHARED, folder) if (folder / SHARED).is_dir() else {}
    found: list[Source] = []
    for entry, namespace, name in _entries(folder):
        path = _shown(entry, folder)
        own = entry.stem == "index" and entry.parent != folder
        files = _texts(entry.parent, folder) if own else {path: _text(entry)}
        rules = _rules(path, files[path], Rules(timeout=seconds))
        found.append(Source(path, namespace, name, {**shared, **files}, rules))
    return sorted(found, key=lambda source: (source.namespace, source.name))


def check_name(namespace: str, name: str) -> None:
    """See that a function may be called so.

    Raises:
        InvalidArgument: it may not.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidArgument("--namespace: small letters, digits, '_' and '-'")
    if not _NAME.fullmatch(name):
        raise InvalidArgument("NAME: letters, digits, '_' and '-'")


def _entries(folder: Path) -> list[tuple[Path, str, str]]:
    """Return the first file of each function, its namespace and its name."""
    found = _inside(folder, "default", folder)
    for below in sorted(folder.iterdir()):
        if below.is_dir() and below.name[0] not in "._" and _index(below) is None:
            if not _NAMESPACE.fullmatch(below.name):
                raise InvalidArgument(
                    f"{below.name}: a namespace has small letters, digits, '_' and '-'"
                )
            found += _inside(below, below.name, folder)
    names = [(namespace, name) for _, namespace, name in found]
    for namespace, name in names:
        if names.count((namespace, name)) > 1:
            raise InvalidArgument(f"{namespace}.{name}: there are two of this name")
    return found


def _inside(folder: Path, namespace: str, root: Path) -> list[tuple[Path, str, str]]:
    found: list[tuple[Path, str, str]] = []
    for path in sorted(folder.iterdir()):
        if path.name[0] in "._":
            continue
        entry = _index(path) if path.is_dir() else path
        if entry is None or entry.suffix not in _ENTRIES or entry.name.endswith(".d.ts"):
            continue
        name = path.name if path.is_dir() else path.stem
        if not _NAME.fullmatch(name):
            shown = _shown(path, root)
            raise InvalidArgument(f"{shown}: a function's name has letters, digits, '_' and '-'")
        found.append((entry, namespace, name))
    return found


def _index(folder: Path) -> Path | None:
    return next((p for s in _ENTRIES if (p := folder / f"index{s}").is_file()), None)


def _texts(folder: Path, root: Path) -> dict[str, str]:
    paths = [p for p in sorted(folder.rglob("*")) if _is_code(p)]
    return {_shown(path, root): _text(path) for path in paths if "node_modules" not in path.parts}


def _is_code(path: Path) -> bool:
    # Declarations say nothing to whoever bundles.
    return path.suffix in _CODE and not path.name.endswith(".d.ts") and path.is_file()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidArgument(f"{path.name}: the file cannot be read as UTF-8") from None


def _shown(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _rules(path: str, text: str, rules: Rules) -> Rules:
    rules = replace(rules, **annotations.read(path, text, "//", _RULES))
    try:
        rules.check()
    except InvalidArgument:
        raise InvalidArgument(
            f"{path}: nobody may invoke it", hint="// @public, or // @roles authenticated"
        ) from None
    return rules


def _scopes(value: str) -> tuple[str, ...]:
    return parse_scopes(value)


def _one_of(*known: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in known:
            raise ValueError(value)
        return value

    return parse


_RULES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "public": ("public", annotations.flag),
    "roles": ("roles", annotations.words),
    "scopes": ("scopes", _scopes),
    "timeout": ("timeout", annotations.seconds(_LONGEST)),
    "runs-as": ("runs_as", _one_of("caller", "service")),
    "isolation": ("isolation", _one_of("caller", "shared")),
    "description": ("description", str),
}
