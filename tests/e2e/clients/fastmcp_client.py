"""FastMCP's client: lists, calls, reads, hears of progress and cancels; prints one JSON line.

Arguments: the endpoint, the key, `legacy` or `auto`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any
from urllib.request import urlopen

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport


async def until(url: str, *, busy: bool) -> bool:
    """Wait until the server says that a query runs, or that none does; return whether it did."""
    for _ in range(160):
        text = await asyncio.to_thread(read, url.replace("/mcp", "/metrics"))
        [found] = re.findall(r'^fluxbase_pool_in_use\{[^}]*="client"\} (\S+)$', text, re.M)
        if (float(found) >= 1) == busy:
            return True
        await asyncio.sleep(0.05)
    return False


def read(url: str) -> str:
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - the server of the test
        return answer.read().decode()


async def main(url: str, key: str, mode: Any) -> None:
    told: list[float] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        told.append(done)

    transport = StreamableHttpTransport(url, headers={"X-Client-Key": key})
    async with Client(transport, mode=mode) as client:
        tools = [tool.name for tool in await client.list_tools()]
        prompts = [prompt.name for prompt in await client.list_prompts()]
        called = await client.call_tool("query_table", {"table": "todos", "limit": 2})
        read: Any = await client.read_resource("fluxbase://schema/tables")
        slow = {"table": "slow"}
        await client.call_tool("query_table", slow, progress_handler=on_progress)
        running = asyncio.ensure_future(client.call_tool("query_table", {"table": "slower"}))
        began = await until(url, busy=True)
        running.cancel()
        await asyncio.wait((running,))
        # While this client stays connected: leaving would end the query as well.
        stopped = await until(url, busy=False)
        await asyncio.sleep(1)  # it takes an answer that comes while it closes for an error
        found = {
            "tools": tools,
            "prompts": prompts,
            "rows": len((called.structured_content or {})["rows"]),
            "read": read[0].text,
            "told": told,
            "cancelled": running.cancelled(),
            "began": began,
            "stopped": stopped,
        }
        sys.stdout.write(json.dumps(found) + "\n")


asyncio.run(main(*sys.argv[1:4]))
