"""Runs the real command in a place of its own, as people do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
CONFIG = """mcp:
  enabled: true
server:
  port: 0
database:
  embedded:
    settings: {fsync: "off", full_page_writes: "off", synchronous_commit: "off"}
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Running:
    """A server that is up."""

    process: subprocess.Popen[bytes]
    url: str
    out: Path
    err: Path

    def call(self, key: str, table: str, select: str = "*", header: str = "X-Client-Key") -> Any:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "query_table", "arguments": {"table": table, "select": select}},
        }
        return httpx2.post(f"{self.url}/mcp", json=message, headers={header: key}, timeout=10)

    def status(self, key: str) -> int:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        headers = {"X-Client-Key": key}
        return httpx2.post(f"{self.url}/mcp", json=message, headers=headers).status_code

    def wait_for_log(self, text: str) -> None:
        wait(lambda: text in self.err.read_text(), f"{text!r} in the log")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


class Place:
    """A directory with a configuration, and `fluxbase` on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        shim = programs / "fluxbase"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fluxbase "$@"\n')
        shim.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if "FLUXBASE" not in k}
        self.env = {
            **kept,
            "PATH": f"{programs}:{kept['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            "FLUXBASE_FUNCTIONS_CACHE_DIR": str(ROOT / ".tools" / "deno"),
        }
        self.configure(CONFIG)

    def configure(self, text: str) -> None:
        (self.folder / "fluxbase.yaml").write_text(text)

    def run(self, *words: str, **env: str) -> Done:
        return self._ended(["fluxbase", *words], env)

    def bash(self, line: str) -> Done:
        return self._ended(["bash", "-c", line], {})

    def _ended(self, command: list[str], env: dict[str, str]) -> Done:
        found = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in found.stderr
        return Done(found.returncode, found.stdout, found.stderr)

    @contextmanager
    def serving(
        self, *words: str, name: str = "", command: tuple[str, ...] = ("serve",)
    ) -> Generator[Running]:
        out, err = self.folder / f"{name}out.txt", self.folder / f"{name}err.txt"
        with out.open("wb") as o, err.open("wb") as e:
            process = subprocess.Popen(
                ["fluxbase", *command, *words], cwd=self.folder, env=self.env, stdout=o, stderr=e
            )
        try:
            yield Running(process, _address(process, err), out, err)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(PATIENCE)

    def postgres_runs(self) -> bool:
        return (self.folder / ".fluxbase" / "pgdata" / "postmaster.pid").exists()


def _address(process: subprocess.Popen[bytes], err: Path) -> str:
    def listening() -> bool:
        assert process.poll() is None, err.read_text()
        return "listening on" in err.read_text()

    wait(listening, "the server")
    found = re.search(r"listening on (http://[\w.]+:\d+)", err.read_text())
    assert found
    return found[1]


def wait(condition: Any, what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@contextmanager
def place() -> Generator[Place]:
    """A directory that every account can walk to, since as root Postgres runs as another."""
    folder = Path(tempfile.mkdtemp(prefix="fluxbase-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        made = Place(folder)
        yield made
        assert not made.postgres_runs()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
