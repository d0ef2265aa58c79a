"""One worker as its parent sees it: a process and the line to it; it decides nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fluxbase.app.link import Link
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from fluxbase.app.tally import Family
    from fluxbase.errors import FluxbaseError

_POLL: Final = 0.02
_PATIENCE: Final = 5.0  # seconds between the end of the line and that of the process
# The parent's own search path: a worker must be of the same program, wherever that was found.
_BECOME: Final = (
    "import sys; sys.path[:] = {path!r}\n"
    "from fluxbase.app.worker import main; main({line}, {counts})"
)


class Worker:
    """A process that serves, and the one that takes its place, and so on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.link: Link | None = None
        self.ready = asyncio.Event()  # one of its processes served once
        self.serving = False
        self.heard = 0.0  # when, by the loop's clock
        self.failure: FluxbaseError | None = None
        self.counted: list[Family] = []
        self._runs = False

    async def start(self, counts: int) -> Link:
        """Start a process and return the line to it.

        Raises:
            Unavailable: the system lets no process start.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.pid = _spawn(theirs.fileno(), counts)
        except OSError as error:
            ours.close()
            raise Unavailable(f"a worker could not be started ({error.strerror})") from None
        self._runs = True
        self.failure = None
        self.heard = asyncio.get_running_loop().time()
        self.link = await Link.over(ours)
        return self.link

    def took_up(self) -> None:
        """Note that the process serves."""
        self.serving = True
        self.ready.set()

    def signal(self, number: int) -> bool:
        """Send a signal; false when there is no process."""
        # Its id is nobody else's as long as its end was not asked for.
        if self._runs:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
                return True
        return False

    async def ended(self) -> str:
        """Return how the process ended; one that hung up but does not end is killed."""
        link, self.link, self.serving = self.link, None, False
        if link is not None:
            link.close()
        loop = asyncio.get_running_loop()
        late = loop.time() + _PATIENCE
        while (status := self._status()) is None:
            if loop.time() > late:
                self.signal(signal.SIGKILL)
            await asyncio.sleep(_POLL)
        return _how(status)

    def _status(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self._runs = False
        return os.waitstatus_to_exitcode(status)


def _spawn(line: int, counts: int) -> int:
    code = _BECOME.format(path=sys.path, line=line, counts=counts)
    handed_down = (line, counts)
    # Started anew rather than forked: nothing of this process' loop or threads is taken along.
    for number in handed_down:
        os.set_inheritable(number, True)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", code],
            os.environ,
            # Ctrl-C goes to the whole group: the workers shall hear of it from here.
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
        )
    finally:
        for number in handed_down:
            os.set_inheritable(number, False)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
