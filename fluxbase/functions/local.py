"""Functions of a folder as they are now, for whoever writes them; nothing of them is kept.

It must not know how they are served.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from fluxbase.errors import FluxbaseError, UnknownFunction
from fluxbase.functions.files import read
from fluxbase.functions.registry import Function, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fluxbase.functions.files import Source
    from fluxbase.functions.service import Functions

log = logging.getLogger(__name__)

_LOOKS: Final = 0.3


class FolderRegistry(Registry):
    """What a folder holds, bundled whenever a file changes."""

    def __init__(self, functions: Functions, folder: Path) -> None:
        self._functions = functions
        self._folder = folder
        self._found: dict[tuple[str, str], Function] = {}
        self._code: dict[str, str] = {}
        self._known_files: dict[str, dict[str, str]] = {}
        self._version = 0
        self.forgotten = 0

    def forget(self) -> None:
        """Do nothing: the folder is looked at by `follow`."""

    async def all(self) -> Mapping[tuple[str, str], Function]:
        """Return every function of the folder by namespace and name."""
        return self._found

    async def code(self, function: Function) -> str:
        """Return the module of a function.

        Raises:
            UnknownFunction: its file is gone, or cannot be bundled.
        """
        if function.id not in self._code:
            raise UnknownFunction
        return self._code[function.id]

    async def follow(self, tell: Callable[[str], None]) -> None:
        """Look at the folder again and again until cancelled, and tell what changed."""
        seen: object = None
        while True:
            now = await asyncio.to_thread(_state, self._folder)
            if now != seen:
                seen = now
                await self._load(tell)
            await asyncio.sleep(_LOOKS)

    async def _load(self, tell: Callable[[str], None]) -> None:
        limit = self._functions.config.timeout
        try:
            sources = await asyncio.to_thread(read, self._folder, limit)
        except FluxbaseError as error:
            tell(f"error: {error.message}" + (f" ({error.hint})" if error.hint else ""))
            return
        found = {(s.namespace, s.name): s for s in sources}
        for gone in self._found.keys() - found.keys():
            function = self._found.pop(gone)
            self._known_files.pop(function.id, None)
            tell(f"gone: {function.full_name}")
        for name, source in found.items():
            await self._take(name, source, tell)
        self._functions.end_old({f.id: f.version for f in self._found.values()})

    async def _take(
        self, name: tuple[str, str], source: Source, tell: Callable[[str], None]
    ) -> None:
        key = ".".join(name)
        rules = source.rules
        changed = self._known_files.get(key) != source.files
        if changed:
            self._known_files[key] = source.files
            try:
                self._code[key] = await self._functions.bundle(source.files, source.path)
            except FluxbaseError as error:
                tell(f"error: {source.path}: {error.message}")
                return
            self._version += 1
        elif key not in self._code:
            return
        before = self._found.get(name)
        version = self._version if changed or before is None else before.version
        self._found[name] = Function(
            key, *name, rules.description, rules.public, frozenset(rules.roles),
            frozenset(rules.scopes), rules.timeout, rules.runs_as, rules.isolation, version,
            source.path, "",
        )  # fmt: skip
        if changed:
            tell(f"{'changed' if before else 'found'}: {key}")


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                facts = path.stat()
                found[str(path)] = (facts.st_mtime_ns, facts.st_size)
        except OSError:
            continue  # it went away this moment
    return found
