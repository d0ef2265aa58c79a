"""The lock which says which process owns a cluster, and its note of the last address."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Note:
    """Who held the lock last, and where Postgres was then."""

    pid: int = 0
    port: int = 0
    socket_dir: str = ""


class ClusterLock:
    """A file lock: the kernel lets go of it when its holder dies, however that happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Try to get the lock; False when another process (or object) has it."""
        if self._fd is not None:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The lock file {self._path} cannot be opened ({error.strerror}).",
                hint="Start the server as the user who made it, or choose another "
                "`database.embedded.data_dir`.",
            ) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        self.write(self.read())
        return True

    def read(self) -> Note:
        """Return the note; an empty one when there is none yet."""
        with contextlib.suppress(OSError, ValueError):
            pid, port, socket_dir = self._path.read_text().splitlines()[:3]
            return Note(int(pid), int(port), socket_dir)
        return Note()

    def write(self, note: Note) -> None:
        """Leave a note with our pid, for who waits now and who starts next."""
        if self._fd is None:
            return
        text = f"{os.getpid()}\n{note.port}\n{note.socket_dir}\n".encode()
        # Not truncated first: a reader would meet an empty file.
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))

    def release(self) -> None:
        """Let go; the file stays, since removing it would let two processes in."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
