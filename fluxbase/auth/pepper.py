"""The secrets kept outside the database that make stored key hashes useless alone; no database.

Several versions can be alive: the first makes new hashes, the others still read old ones.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SETTING: Final = "auth.peppers"
MIN_BYTES: Final = 32
_VERSION: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
_HINT: Final = "v2:<base64>,v1:<base64>, newest first; openssl rand -base64 32 makes one"
_MAX_FILE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Peppers:
    """The pepper of each version, and which one new keys are stored with."""

    ring: Mapping[str, bytes] = field(repr=False)
    current: str

    @classmethod
    def parse(cls, text: str) -> Peppers:
        """Return the peppers of `v2:base64…,v1:base64…`; the first is the current one.

        Raises:
            ConfigError: an entry has no version, is not base64, is short or comes twice.
        """
        ring: dict[str, bytes] = {}
        for place, entry in enumerate(text.strip().split(","), start=1):
            version, secret = _entry(entry.strip(), place)
            if version in ring:
                raise _wrong(f"entry {place} repeats a version")
            ring[version] = secret
        return cls(MappingProxyType(ring), next(iter(ring)))

    @classmethod
    def load_or_create(cls, path: Path) -> Peppers:
        """Return the peppers in the file `path`; the first start makes the file, mode 0600.

        Of several processes that start at once all get what the first one wrote.

        Raises:
            ConfigError: the file cannot be read or written, is open to others, or is malformed.
        """
        try:
            if not path.exists():
                _create(path)
            return cls.parse(_read(path))
        except OSError as error:
            raise _wrong(f"{path} cannot be used: {error.strerror}") from None

    def derive(self, purpose: str, version: str | None = None) -> bytes:
        """Return 32 bytes for one purpose, by default of the current version.

        A secret per purpose: what leaks or is broken in one use says nothing about another.

        Raises:
            KeyError: the version is not in the ring (any more).
        """
        key = self.ring[self.current if version is None else version]
        return hmac.digest(key, purpose.encode(), hashlib.sha256)


def _entry(entry: str, place: int) -> tuple[str, bytes]:
    version, colon, encoded = entry.partition(":")
    if not colon or not _VERSION.fullmatch(version):
        raise _wrong(f"entry {place} does not start with a version and a colon")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(f"entry {place} is not base64") from None
    if len(secret) < MIN_BYTES:
        raise _wrong(f"entry {place} has {len(secret)} bytes; at least {MIN_BYTES} are needed")
    return version, secret


def _read(path: Path) -> str:
    # One open file is judged and read, so it cannot be swapped in between; no link is followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _wrong(f"{path} is not a regular file")
        if found.st_mode & 0o077:
            raise ConfigError(
                f"{SETTING}: {path} is open to other users", hint="chmod 600 the file"
            )
        if found.st_uid not in (os.geteuid(), 0):
            raise _wrong(f"{path} belongs to another user")
        content = file.read(_MAX_FILE)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise _wrong(f"{path} is not text") from None


def _create(path: Path) -> None:
    """Write a new pepper beside `path` and link it there: whoever links first wins."""
    text = f"v1:{base64.b64encode(secrets.token_bytes(MIN_BYTES)).decode()}\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        # A link, not a rename: it never replaces a pepper that keys were already stored with.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A pepper lost in a power cut would make every key made meanwhile worthless.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"{SETTING}: {problem}", hint=_HINT)
