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
    from collections.abc import Generator, Sequence

PYTHON: Final = sys.executable
PEERS_PYTHON: Final = str(ROOT / ".venv-bench" / "bin" / "python")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START: Final = 60.0


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


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used so far, in user and system mode."""
    # The name of the program, which may hold anything, stands in parentheses before the rest.
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_of_children(pid: int) -> float:
    """Return the processor time used by a process and its children, living or waited for."""
    total = cpu_seconds(pid)
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    total += (int(fields[13]) + int(fields[14])) / _TICKS
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
        try:
            total += cpu_seconds(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return total


def resident_mib(pid: int) -> float:
    """Return the memory a process holds, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
