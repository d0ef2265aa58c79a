"""Runs the official suites against a server and reads what they found."""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluxbase.http.server import bind, serve
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    from fluxbase.app.server import Server

TOOLS: Final = ROOT / ".tools"
PACKAGE: Final = "node_modules/@modelcontextprotocol/conformance"
BOUND: Final = 600.0
_STAMP: Final = re.compile(r"-\d{4}-\d\d-\d\dT[\dZ-]+$")
_GOOD: Final = frozenset({"SUCCESS", "SKIPPED", "INFO"})


@dataclass(frozen=True)
class Check:
    """One check of one scenario."""

    scenario: str
    name: str
    status: str
    reason: str

    @property
    def passed(self) -> bool:
        return self.status in _GOOD

    def __str__(self) -> str:
        return f"{self.scenario}/{self.name}: {self.status} {self.reason}"


class WithKey:
    """A server that takes every request for one that carries a key: the suites send none."""

    def __init__(self, server: Server, key: str) -> None:
        self._server = server
        self._header = (b"x-client-key", key.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], self._header]}
        await self._server(scope, receive, send)


@asynccontextmanager
async def endpoint(server: Server, key: str) -> AsyncGenerator[str]:
    """Serve on a socket and yield the address of the MCP endpoint."""
    ready = asyncio.Event()
    listener = bind("127.0.0.1", 0)
    number: int = listener.getsockname()[1]
    task = asyncio.ensure_future(
        serve(
            WithKey(server, key),
            sockets=[listener],
            on_ready=ready.set,
            on_drain=server.drain,
            drain_timeout=5,
        )
    )
    await asyncio.wait_for(ready.wait(), 10)
    yield f"http://127.0.0.1:{number}/mcp"
    task.cancel()
    await asyncio.wait((task,))


async def run(suite: str, url: str, folder: Path, *words: str) -> list[Check]:
    """Run one suite (`0.1` or `0.2`) and return its checks."""
    program = TOOLS / "clients" / f"conformance-{suite}" / PACKAGE
    command = (
        str(TOOLS / "node" / "bin" / "node"),
        str(program / "dist" / "index.js"),
        "server",
        "--url",
        url,
        "-o",
        str(folder),
        *words,
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), BOUND)
    except BaseException:
        process.kill()
        raise
    found = list(_read(folder))
    if not found:
        raise AssertionError(output.decode()[-4000:])
    return found


def _read(folder: Path) -> Iterable[Check]:
    for file in sorted(folder.rglob("checks.json")):
        name = _STAMP.sub("", file.parent.name.removeprefix("server-"))
        for check in json.loads(file.read_text("utf-8")):
            reason = str(check.get("errorMessage") or "")
            yield Check(name, check["id"], check["status"], reason)
