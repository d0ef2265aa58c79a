"""Keeps a server that speaks MCP over its standard streams busy, some calls in flight at a time.

Run as `python -m tests.bench.peers.stdio WANTED POSTMASTER SECONDS COMMAND...`, WANTED being JSON
with the line of a call and the user whose rows must come; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvloop

from tests.bench.processes import cpu_of_tree, resident_mib
from tests.bench.work import TEN
from tests.bench.world import POOL

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_LINE: Final = 2**24
_HELLO: Final = {
    "protocolVersion": "2024-11-05",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(slots=True)
class _Line:
    """Both ends of the server's standard streams."""

    process: Process
    call: str
    number: int = 0

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")

    def ask(self) -> int:
        self.number += 1
        self.say(self.call.replace('"id": 1,', f'"id": {self.number},', 1))
        return self.number

    async def hear(self) -> bytes:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("the server ended")
        return line


async def _greet(line: _Line, user_id: str) -> int:
    """Open the conversation, look at one answer, and return its length."""
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": _HELLO}
    line.say(json.dumps(hello))
    await line.hear()
    line.say('{"jsonrpc":"2.0","method":"notifications/initialized"}')
    line.ask()
    text = await line.hear()
    TEN.check(json.loads(json.loads(text)["result"]["content"][0]["text"]), user_id)
    return len(text)


async def _ask(line: _Line, seconds: float, size: int) -> tuple[list[float], int]:
    """Keep calls in flight; return how long each took, and how many answers were wrong."""
    began: dict[int, float] = {}
    taken: list[float] = []
    wrong = 0
    until = time.perf_counter() + seconds
    for _ in range(POOL):
        began[line.ask()] = time.perf_counter()
    while began:
        text = await line.hear()
        now = time.perf_counter()
        # The id stands at the end; reading all of the JSON would measure this process.
        number = int(text[text.rindex(b'"id":') + 5 :].rstrip(b" }\r\n"))
        taken.append(now - began.pop(number))
        wrong += abs(len(text) / size - 1) > 0.1
        if now < until:
            began[line.ask()] = now
    return taken, wrong


async def _measure(
    wanted: dict[str, str], postmaster: int, seconds: float, command: list[str]
) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE,
    )
    try:
        line = _Line(process, wanted["call"])
        size = await _greet(line, wanted["user_id"])
        await _ask(line, 1.0, size)
        cpu, database = cpu_of_tree(process.pid), cpu_of_tree(postmaster)
        began = time.perf_counter()
        taken, wrong = await _ask(line, seconds, size)
        spent = time.perf_counter() - began
        cpu, database = cpu_of_tree(process.pid) - cpu, cpu_of_tree(postmaster) - database
        rss = resident_mib(process.pid)
    finally:
        process.kill()
        await process.wait()
    taken.sort()
    return {
        "requests": len(taken),
        "seconds": spent,
        "errors": wrong,
        "p50_ms": taken[len(taken) // 2] * 1000,
        "p99_ms": taken[len(taken) * 99 // 100] * 1000,
        "cpu": cpu,
        "database": database,
        "rss_mib": rss,
    }


def main() -> None:
    """Measure and print."""
    wanted, postmaster, seconds, *command = sys.argv[1:]
    result = uvloop.run(_measure(json.loads(wanted), int(postmaster), float(seconds), command))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
