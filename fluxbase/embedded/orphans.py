"""Ends what a killed postmaster leaves running; call it only while holding the cluster's lock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from fluxbase.embedded import pidfile

if TYPE_CHECKING:
    from pathlib import Path

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 1.0
_GIVE_UP_SECONDS = 10.0


async def clear(data: Path) -> None:
    """Return when no child of a dead postmaster works here, nor a stale pid file misleads.

    Idle children go by themselves at once. One which computes does not notice that its postmaster
    is dead, and would hold the shared memory until its query ends: it is told to quit.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while pidfile.live(data) is None and (left := await asyncio.to_thread(pidfile.leftovers, data)):
        waited = loop.time() - began
        if waited > _GIVE_UP_SECONDS:
            return
        if waited > _GRACE_SECONDS:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGQUIT)
        await asyncio.sleep(_POLL_SECONDS)
    _forget_reused_pid(data)


def _forget_reused_pid(data: Path) -> None:
    """Remove a pid file whose number a stranger got: Postgres would take it for its own.

    In containers that is the rule, since pids start over. A file whose process is simply gone is
    left for Postgres, which also looks at the shared memory it names.
    """
    stale = pidfile.read(data)
    if stale is not None and pidfile.exists(stale.pid) and not pidfile.serves(stale.pid, data):
        (data / pidfile.NAME).unlink(missing_ok=True)
