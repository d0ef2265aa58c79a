"""Starts a program which dies with us; it does not know what the program does.

A small Python runs in between: it drops root, asks the kernel for a signal when its parent dies,
then becomes the program, keeping its pid. This replaces `preexec_fn`, which forks a process that
may have threads and so can hang. The kernel means the parent *thread*: call `spawn` from the
thread which lives as long as the server, the one of the event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from fluxbase.embedded.account import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.embedded.account import Account

_POLL_SECONDS = 0.02
# The signal is asked for last: the kernel forgets it whenever the user changes.
_BECOME = """
import ctypes, os, sys
parent, uid, gid, death = (int(word) for word in sys.argv[1:5])
libc = ctypes.CDLL(None)
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    libc.prctl(1, death, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the server which wanted this is gone")
os.execv(sys.argv[5], sys.argv[5:])
"""


def spawn(account: Account, command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    """Start a program; what it says goes to `output`. It gets SIGINT if we die (on Linux)."""
    identity = (account.uid, account.gid) if account.dropped else (-1, -1)
    words = [os.getpid(), *identity, int(signal.SIGINT)]
    return subprocess.Popen(  # noqa: S603 - our own words and paths, no shell
        [sys.executable, "-I", "-S", "-c", _BECOME, *map(str, words), *command],
        cwd="/",
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # Ctrl-C goes to the whole group: Postgres must outlive the requests being drained.
        start_new_session=True,
    )


async def wait(process: subprocess.Popen[bytes], seconds: float | None = None) -> int | None:
    """Return the exit code, or None when the process still lives after `seconds`."""
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    # Polled: it works the same under asyncio and uvloop and leaves SIGCHLD alone.
    while (code := process.poll()) is None:
        if end is not None and loop.time() >= end:
            return None
        await asyncio.sleep(_POLL_SECONDS if seconds is not None else 0.1)
    return code
