"""Where the servers are that tests start for real: `make test` unpacks them below `.tools`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ROOT / ".tools" / "root"
_PLACES = ("usr/bin", "usr/sbin", "usr/lib/postgresql/15/bin")


def program(name: str) -> str:
    """Return the path of a program, unpacked or installed.

    Raises:
        FileNotFoundError: it is neither; `make test` would have unpacked it.
    """
    for place in _PLACES:
        path = UNPACKED / place / name
        if path.exists():
            return str(path)
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name}: run scripts/test-needs.sh")
    return found


def environment() -> dict[str, str]:
    """Return an environment in which the unpacked programs find their libraries."""
    libraries = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu")]
    before = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join([*libraries, *([before] if before else [])]),
    }
