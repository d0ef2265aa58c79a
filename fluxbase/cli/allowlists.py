"""Checks lists of tools and resources against those that exist; it must not know what they do."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import yaml

from fluxbase.errors import ConfigError, InvalidArgument
from fluxbase.principal import allows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fluxbase.config import Config, Loaded
    from fluxbase.toolkit.toolbox import Toolbox


def check_config(loaded: Loaded, box: Toolbox) -> None:
    """Refuse entries of `mcp.allowed_*` that name nothing; `box` holds all there is.

    Raises:
        ConfigError: with file, line, key and the nearest name.
    """
    mcp = loaded.config.mcp
    for name, globs, known in (
        ("allowed_tools", mcp.allowed_tools, box.tools),
        ("allowed_resources", mcp.allowed_resources, box.resources),
    ):
        for place, glob in enumerate(globs):
            fault = _fault(glob, known)
            if fault:
                where = _where(loaded.file, ("mcp", name), place, glob)
                raise ConfigError(f"{where}mcp.{name}[{place}]: {fault}", hint=_known(known))


def check_option(option: str, globs: tuple[str, ...], known: Iterable[str]) -> None:
    """Refuse entries of an option that name nothing.

    Raises:
        InvalidArgument: with the option and the nearest name.
    """
    names = list(known)
    for glob in globs:
        fault = _fault(glob, names)
        if fault:
            raise InvalidArgument(f"{option}: {fault}", hint=_known(names))


def every_tool(config: Config) -> Config:
    """Return the configuration without its allowlists, so that a toolbox of it holds all."""
    empty = {"allowed_tools": (), "allowed_resources": ()}
    return config.model_copy(update={"mcp": config.mcp.model_copy(update=empty)})


def offered(config: Config, box: Toolbox) -> int:
    """Return how many tools the configuration lets through."""
    return sum(allows(config.mcp.allowed_tools, name) for name in box.tools)


def _fault(glob: str, known: Iterable[str]) -> str | None:
    names = list(known)
    if any(allows((glob,), name) for name in names):
        return None
    close = get_close_matches(glob, names, n=1)
    shown = glob if len(glob) <= 80 and glob.isprintable() else "(unprintable)"
    return f"'{shown}' matches nothing" + (f"; did you mean '{close[0]}'?" if close else "")


def _known(names: Iterable[str]) -> str:
    return "known: " + ", ".join(sorted(names))


def _where(file: Path | None, path: tuple[str, ...], place: int, entry: str) -> str:
    """Return `file:line: ` when the entry stands in the file, rather than in the environment."""
    if file is None:
        return ""
    node = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            return ""
        node = next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and place < len(node.value):
        item = node.value[place]
        if item.value == entry:
            return f"{file}:{item.start_mark.line + 1}: "
    return ""
