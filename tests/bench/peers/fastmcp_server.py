"""The same tool as one writes it with FastMCP and asyncpg; run by the peers' own Python.

Run as `python tests/bench/peers/fastmcp_server.py PORT WORLD`. It imports nothing of this
repository. Its pool is asyncpg's own, as the documentation shows it, which resets a connection when
it comes back.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

asyncpg: Any = import_module("asyncpg")
FastMCP: Any = import_module("fastmcp").FastMCP
get_http_headers: Any = import_module("fastmcp.server.dependencies").get_http_headers

mcp: Any = FastMCP("bench")
pools: list[Any] = []
world: dict[str, Any] = json.loads(Path(sys.argv[2]).read_text("utf-8"))

_COLUMNS = {"id", "user_id", "status", "title", "created_at", "project_id"}


async def query_table(table: str, filter: dict[str, str], limit: int) -> list[dict[str, Any]]:  # noqa: A002
    """Read rows of a table under row-level security."""
    if not pools:  # the loop that serves must be the one that opens them
        pools.append(asyncpg.create_pool(world["url"], min_size=16, max_size=16))
        await pools[0]
    caller = world["callers"][get_http_headers()["x-client-key"]]
    if table != "tasks" or not filter.keys() <= _COLUMNS:
        raise ValueError("no such table or column")
    where = " AND ".join(f"{name} = ${n}" for n, name in enumerate(filter, 1))
    values = [value.removeprefix("eq.") for value in filter.values()]
    async with pools[0].acquire() as conn:
        await conn.execute("BEGIN")
        await conn.execute("SET LOCAL ROLE authenticated")
        await conn.fetchval("SELECT set_config('request.jwt.claims', $1, true)", caller["claims"])
        rows = await conn.fetch(
            f"SELECT {', '.join(sorted(_COLUMNS))} FROM {table} WHERE {where} LIMIT {int(limit)}",
            *values,
        )
        await conn.execute("COMMIT")
    return [dict(row) for row in rows]


def main() -> None:
    """Serve until ended, without sessions and with plain JSON answers: the fastest it offers."""
    mcp.tool(query_table)
    app = mcp.http_app(path="/mcp", stateless_http=True, json_response=True)
    import_module("uvicorn").run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
