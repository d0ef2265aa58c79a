"""Starts the servers under test, says what they cost, and ends them by their process ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

PYTHON: Final = sys.executable
PEERS_PYTHON: Final = str(ROOT / ".venv-bench" / "bin" / "python")
POSTGREST: Final = ROOT / ".tools" / "postgrest" / "postgrest"
NODE: Final = ROOT / ".tools" / "node" / "bin" / "node"
NPM: Final = ROOT / ".tools" / "bench" / "npm" / "node_modules"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_START: Final = 60.0
_READINGS: Final = 100


@dataclass(frozen=True, slots=True)
class Child:
    """A server on a port of the loopback."""

    pid: int
    port: int
    log: Path


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], log: Path) -> Generator[Child]:
    """Run a server for as long as the block lasts; `{port}` in its command becomes its port."""
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    child = Child(process.pid, port, log)
    try:
        _wait_until_open(process, child)
        yield child
    finally:
        _end(process)


def _wait_until_open(process: subprocess.Popen[bytes], child: Child) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", child.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = child.log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"a server did not come up:\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the kernel tells of it; times are in ticks, `reaped` of the children it had."""

    parent: int
    own: int
    reaped: int
    pages: int


def cpu_of_tree(pid: int) -> float:
    """Return the processor time used by a process and all below it, living or ended."""
    return sum(one.own + one.reaped for one in settled(lambda: _tree(pid)).values()) / _TICKS


def settled(reading: Callable[[], dict[int, Process]]) -> dict[int, Process]:
    """Return the first of the readings that agrees with the one before on who is there and was.

    What ends while processes are read is in neither its own place nor its parent's, or in both.
    """
    before = reading()
    for _ in range(_READINGS):
        now = reading()
        if {n: one.reaped for n, one in now.items()} == {n: p.reaped for n, p in before.items()}:
            break
        before = now
    return before


def resident_mib(pid: int) -> float:
    """Return the memory that a process and all below it hold, in MiB."""
    return sum(one.pages for one in _tree(pid).values()) * _PAGE / 2**20


def _tree(pid: int) -> dict[int, Process]:
    """Return a process and all below it, by looking at every process that there is.

    The kernel's own lists of children miss some while others end.
    """
    every = {int(path.name): _read(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    children: dict[int, list[int]] = {}
    for number, one in every.items():
        if one is not None:
            children.setdefault(one.parent, []).append(number)
    found: dict[int, Process] = {}
    waiting = [pid]
    while waiting:
        number = waiting.pop()
        if (one := every.get(number)) is not None:
            found[number] = one
            waiting += children.get(number, [])
    return found


def _read(path: Path) -> Process | None:
    try:
        text = (path / "stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended meanwhile
    # The name of the program, which may hold anything, stands in parentheses before the rest.
    fields = text.rpartition(")")[2].split()
    own, reaped = (int(fields[n]) + int(fields[n + 1]) for n in (11, 13))
    return Process(int(fields[1]), own, reaped, int(fields[21]))
