"""Reads the configuration of a running server again; it must not put it into force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase import config as configuration
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fluxbase.config import Config

# What a running server cannot change without losing connections or its address.
FIXED: Final = (
    "server",
    "database",
    "migrations",
    "limits.storage",
    "storage.backend",
    "storage.path",
    "storage.s3",
    "functions",
    "auth.peppers",
    "auth.peppers_file",
)


def read_again(file: Path | None, flags: Mapping[str, object] | None, now: Config) -> Config:
    """Return the configuration as it is now written.

    Raises:
        ConfigError: it is wrong, or changes what a running server cannot change.
    """
    fresh = configuration.load(file, flags=flags).config
    fixed = [key for key in FIXED if _at(fresh, key) != _at(now, key)]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)}: cannot change without a restart")
    if not _roles(fresh) <= _roles(now):
        raise ConfigError("auth.jwt.role_map: a new role needs a restart")
    return fresh


def _roles(config: Config) -> set[str]:
    jwt = config.auth.jwt
    return set(jwt.role_map.values()) if jwt.enabled else set()


def _at(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
