"""A Redis of a test's own, on a free port of the loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.programs import environment, program

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def redis_server() -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """Yield the process and its address; stop it at the end, even when it was suspended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                program("redis-server"),
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                folder,
            ],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait(port)
            yield process, f"redis://127.0.0.1:{port}/0"
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "Redis does not come up"
            time.sleep(0.02)
        else:
            return
