"""Reads `postmaster.pid` and asks the system who lives in a data directory; it changes nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "postmaster.pid"
_PROC = Path("/proc")
_PROGRAMS = ("postgres", "postmaster")


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What the file says; a killed Postgres leaves it behind saying `ready`."""

    pid: int
    port: int
    socket_dir: str
    status: str

    @property
    def ready(self) -> bool:
        """Whether it said that it takes connections."""
        return self.status in {"ready", "standby"}


def read(data: Path) -> Postmaster | None:
    """Return what the file says, or None without a file (or with one being written)."""
    try:
        lines = (data / NAME).read_text(errors="replace").splitlines()
        lines += [""] * (8 - len(lines))
        return Postmaster(abs(int(lines[0])), int(lines[3] or 0), lines[4], lines[7].strip())
    except (OSError, ValueError):
        return None


def live(data: Path) -> Postmaster | None:
    """Return what the file says if the process it names is a Postgres on this directory."""
    found = read(data)
    return found if found is not None and serves(found.pid, data) else None


def exists(pid: int) -> bool:
    """Whether any process has this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def serves(pid: int, data: Path) -> bool:
    """Whether the pid is a postmaster on this directory, not a stranger who got its number."""
    if pid <= 0 or not exists(pid):
        return False
    words = _command(pid)
    if words is None:
        return True  # The system does not tell; two servers on one directory would be worse.
    if not words or Path(words[0]).name not in _PROGRAMS:
        return False
    home = _working_directory(pid)
    if home is None and "-D" in words[:-1]:
        home = os.path.realpath(words[words.index("-D") + 1])
    return home is None or home == os.path.realpath(data)


def leftovers(data: Path) -> list[int]:
    """Return the children a dead postmaster left: Postgres works inside its data directory."""
    if not _PROC.is_dir():
        return []
    real = os.path.realpath(data)
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _working_directory(pid) == real and _is_backend(pid)]


def _is_backend(pid: int) -> bool:
    words = _command(pid)
    # Their title replaces the command line: `postgres: checkpointer`.
    return bool(words) and Path(words[0].split(":")[0]).name in _PROGRAMS


def _working_directory(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        return str((_PROC / str(pid) / "cwd").readlink())
    return None


def _command(pid: int) -> list[str] | None:
    """Return the command line: empty for a dead or zombie process, None when nobody tells."""
    if not _PROC.is_dir():
        return _command_of_ps(pid)
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        # Also when hidepid hides another user's process: no other user could serve our data.
        return []
    except OSError:
        return None
    return os.fsdecode(raw).rstrip("\0").split("\0") if raw else []


def _command_of_ps(pid: int) -> list[str] | None:
    try:
        told = subprocess.run(  # noqa: S603 - a number and fixed words
            ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Without separators a path with spaces cannot be told apart: only the program counts.
    return told.stdout.split()[:1]
