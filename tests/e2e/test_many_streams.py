"""A hundred sessions and a thousand idle streams cost what they cost at first, and no more.

`SOAK` is how many seconds they are held; ten minutes show a leak that fifteen seconds hide.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest

from tests.e2e.cli_stand import wait
from tests.e2e.process import DEFAULTS, Demo, demo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.slow

SESSIONS: Final = 100  # as many as a key may have
STREAMS: Final = 10  # of each
SOAK: Final = float(os.environ.get("SOAK", "15"))
MOST_KB: Final = 20_000
INITIALIZE: Final[dict[str, Any]] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
}


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    wide = DEFAULTS.replace("port: 0", "port: 0\n  max_connections_per_ip: 4000\n  keep_alive: 5s")
    with demo(wide) as running:
        yield running


class Process:
    """What the server's process holds, by /proc."""

    def __init__(self, server: Demo) -> None:
        self._place = Path("/proc") / str(server.running.process.pid)

    @property
    def kilobytes(self) -> int:
        [line] = [
            line
            for line in (self._place / "status").read_text().splitlines()
            if line.startswith("VmRSS")
        ]
        return int(line.split()[1])

    @property
    def files(self) -> int:
        return len(list((self._place / "fd").iterdir()))


async def test_a_thousand_idle_streams_stay_as_they_are(
    server: Demo, record_property: Callable[[str, object], None]
) -> None:
    process = Process(server)
    headers = {
        "X-Client-Key": server.keys["user1"],
        "Accept": "application/json, text/event-stream",
    }
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=5)
    async with httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(30, read=None)) as http:

        async def initialize() -> httpx2.Response:
            return await http.post(server.endpoint, json=INITIALIZE, headers=headers)

        before = process.files
        sessions = [(await initialize()).headers["mcp-session-id"] for _ in range(SESSIONS)]
        async with AsyncExitStack() as stack:

            async def stream(session: str) -> httpx2.Response:
                sent = {**headers, "Mcp-Session-Id": session}
                opened = http.stream("GET", server.endpoint, headers=sent)
                answer = await stack.enter_async_context(opened)
                assert answer.status_code == 200
                return answer

            for session in sessions:
                await asyncio.gather(*(stream(session) for _ in range(STREAMS)))
            await asyncio.sleep(3)
            at_first = (process.kilobytes, process.files)
            assert at_first[1] >= before + SESSIONS * STREAMS
            await asyncio.sleep(SOAK)
            at_last = (process.kilobytes, process.files)
            assert at_last[0] - at_first[0] < MOST_KB, (at_first, at_last)
            assert abs(at_last[1] - at_first[1]) <= 10, (at_first, at_last)
            record_property("kilobytes", f"{at_first[0]} then {at_last[0]}")
            record_property("files", f"{at_first[1]} then {at_last[1]}")
            # Whoever comes next finds the door closed, and it opens when somebody leaves.
            refused = await initialize()
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            leaving = {**headers, "Mcp-Session-Id": sessions[0]}
            assert (await http.delete(server.endpoint, headers=leaving)).status_code == 204
            assert (await initialize()).status_code == 200
    await asyncio.to_thread(wait, lambda: process.files <= before + 10, "the streams' end", 20)
