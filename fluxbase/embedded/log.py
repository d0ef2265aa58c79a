"""The file Postgres writes to, and the few lines of it which may be shown to a person."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_ROTATE_BYTES = 10 * 1024 * 1024
_TELLING = ("FATAL:", "PANIC:", "LOG:  could not", "initdb: error:", "HINT:")
_TAIL_BYTES = 16 * 1024
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Log:
    """A log opened by us, so that Postgres can write to it as another user."""

    path: Path
    fd: int
    start: int

    @classmethod
    def open(cls, path: Path) -> Log:
        """Open the log at its end, a new one if the old one is large."""
        try:
            if path.exists() and path.stat().st_size > _ROTATE_BYTES:
                path.rename(path.with_name(path.name + ".1"))
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The log {path} cannot be opened ({error.strerror}).",
                hint="Start the server as the user who made it.",
            ) from None
        return cls(path, fd, os.fstat(fd).st_size)

    def said(self) -> str:
        """Return what was written since it was opened, the end of it when that is long."""
        size = os.fstat(self.fd).st_size
        start = max(self.start, size - _TAIL_BYTES)
        return os.pread(self.fd, size - start, start).decode(errors="replace")

    def complaint(self, secret: str) -> str:
        """Return why a start failed: before clients come in, so with nobody's data in it."""
        lines = [line for line in self.said().splitlines() if any(t in line for t in _TELLING)]
        shown = " ".join(line for line in lines[-_SHOWN_LINES:] if secret not in line)
        return f"{shown} (see {self.path})" if shown else f"See {self.path}."

    def close(self) -> None:
        """Close our end; Postgres has its own."""
        os.close(self.fd)
