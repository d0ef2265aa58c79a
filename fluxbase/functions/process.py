"""One process that runs one function, and the line to it; it must not decide what it may do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from fluxbase.errors import HandlerFailed
from fluxbase.functions.sandbox import close, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STARTS: Final = 15.0  # seconds until it says that it is there
_LINE: Final = 65536  # bytes around a body: headers and the like
_MESSAGE: Final = 256  # bytes that each message counts for beside its own: the work it makes
_TURN: Final = 32_768  # of those bytes, after which it is the turn of others
_STDERR: Final = 4096
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A child that was started and may be given a function; it ends with whoever holds it."""

    def __init__(self, child: asyncio.subprocess.Process, longest: int) -> None:
        self._child = child
        self._longest = longest
        self._taken = 0
        self._most = 0
        self._pause = 0
        self._errors = asyncio.ensure_future(self._listen())
        self._fault: str | None = None
        self._deno = child.pid
        self.used = time.monotonic()
        self.calls = 0

    @classmethod
    async def start(cls, command: Sequence[str], longest: int) -> Process:
        """Start one and wait until it is there.

        Args:
            command: the command line.
            longest: most bytes of a body that comes or goes.

        Raises:
            HandlerFailed: it does not come up.
        """
        try:
            child = await _spawn(command, longest)
        except OSError:
            raise HandlerFailed("no process for functions can be started") from None
        process = cls(child, longest)
        try:
            async with asyncio.timeout(_STARTS):
                process.begin()
                await process.receive()
            process._deno = _inside(child.pid)
        except BaseException:
            await process.end()
            raise
        return process

    @property
    def alive(self) -> bool:
        """Return whether it runs and was not told to end."""
        return self._child.returncode is None and self._fault is None

    def begin(self) -> None:
        """Let a call begin: what it may write is counted from here."""
        self._signal(signal.SIGCONT)
        self._taken, self._most = 0, self._longest * 8 + (1 << 20)
        self._pause = _TURN
        self.used = time.monotonic()
        self.calls += 1

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            HandlerFailed: the process has ended.
        """
        stdin = self._child.stdin
        assert stdin is not None  # noqa: S101
        try:
            stdin.write(orjson.dumps(message) + b"\n")
            await stdin.drain()
        except (ConnectionError, RuntimeError):
            raise await self._why() from None

    async def receive(self) -> dict[str, Any]:
        """Return the next message.

        Raises:
            HandlerFailed: the process ended, wrote too much, or wrote something else.
        """
        stdout = self._child.stdout
        assert stdout is not None  # noqa: S101
        try:
            line = await stdout.readline()
        except ValueError:
            raise await self._broke("it wrote more than a response may have") from None
        self._taken += len(line) + _MESSAGE
        if self._taken >= self._pause:
            # A line that is there already is had at once: without this nobody else would be served
            # as long as a function writes faster than its lines are taken in.
            self._pause = self._taken + _TURN
            await asyncio.sleep(0)
        if not line.endswith(b"\n"):
            raise await self._why()
        if self._taken > self._most:
            raise await self._broke("it wrote more than a call may")
        try:
            message: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise await self._broke("it wrote to its standard output")
        return cast("dict[str, Any]", message)

    def rest(self) -> None:
        """Let it stand still until the next call begins, whatever the last one left running."""
        self.used = time.monotonic()
        self._signal(signal.SIGSTOP)

    def stop(self, fault: str) -> None:
        """Kill it, and let whoever waits for it know why."""
        if self._fault is None:
            self._fault = fault
        self._kill()

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        self.stop("it was ended")
        try:
            await self._gone()
        finally:
            self._errors.cancel()
            close(self._child)

    def memory(self) -> int:
        """Return the bytes of memory it holds now."""
        return _field(self._deno, "statm", 1) * _PAGE

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        return (_field(self._deno, "stat", 11) + _field(self._deno, "stat", 12)) / _TICKS

    def _kill(self) -> None:
        if self._deno == self._child.pid and self._child.returncode is None:
            self._deno = _inside(
                self._child.pid
            )  # it did not come as far as to say that it is there
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # To its whole group, and to Deno, which has a session of its own in bubblewrap: it is the
        # first process of its namespace, so all others there end with it.
        if self._child.returncode is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)
        if self._deno != self._child.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self._deno, number)

    async def _gone(self) -> None:
        """Kill it and wait until it is gone."""
        self._kill()
        stdout = self._child.stdout
        assert stdout is not None  # noqa: S101
        # What nobody takes in would keep its end from being heard of.
        with suppress(RuntimeError, ConnectionError):  # somebody else reads it
            while await stdout.read(1 << 16):
                pass
        await self._child.wait()

    async def _broke(self, fault: str) -> HandlerFailed:
        self.stop(fault)
        return await self._why()

    async def _why(self) -> HandlerFailed:
        """Return why it ended, after making sure that it has."""
        if self._fault is None and self._child.returncode is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._child.wait()
        await self._gone()
        said = await self._errors if not self._errors.cancelled() else ""
        fault = self._fault or _ended(said)
        self._fault = fault
        return HandlerFailed(f"the function was stopped: {fault}")

    async def _listen(self) -> str:
        """Return the end of what it says on standard error, of which none is shown to callers."""
        stderr = self._child.stderr
        assert stderr is not None  # noqa: S101
        said = b""
        while part := await stderr.read(_STDERR):
            said = (said + part)[-_STDERR:]
        return said.decode(errors="replace")


async def _spawn(command: Sequence[str], longest: int) -> asyncio.subprocess.Process:
    return await spawn(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A body in base64 and its escapes.
        limit=longest * 2 + _LINE,
        start_new_session=True,
        env={"PATH": "/usr/bin:/bin"},
    )


def _ended(said: str) -> str:
    # V8 says so when its heap is full, in words of its own.
    if "out of memory" in said.lower() or "heap limit" in said.lower():
        return "it used more memory than it may"
    return "it ended its process"


def _inside(pid: int) -> int:
    """Return the id of Deno itself, which is a child of bubblewrap where that is in use."""
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() == "bwrap":
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        pass  # it has ended already, as whoever speaks to it finds out
    return pid


def _field(pid: int, file: str, number: int) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    # The name of the program may hold anything, and stands in parentheses.
    rest = text.rpartition(")")[2] if file == "stat" else text
    return int(rest.split()[number])
