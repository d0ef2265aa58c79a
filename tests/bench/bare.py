"""A route of bare Starlette with the same SQL: no credentials, limits, checks, audit or protocol.

Run as `python -m tests.bench.bare PORT WORLD trips|pinned`.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.bench.connections import Connections
from tests.bench.world import SELECT_JSON, Caller, read_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request


def entering(caller: Caller) -> str:
    """Return the first trip: a transaction, its claims and its role in one message."""
    claims = caller.claims.replace("'", "''")
    return (
        f"BEGIN; SELECT set_config('request.jwt.claims', '{claims}', true), "
        "set_config('role', 'authenticated', true)"
    )


async def in_three_trips(conn: Any, caller: Caller, status: str) -> str:
    """Return the rows as JSON, entering and leaving a transaction for them."""
    await conn.execute(entering(caller))
    text: str = await conn.fetchval(SELECT_JSON, status)
    await conn.execute("COMMIT")
    return text


async def in_one_trip(conn: Any, _caller: Caller, status: str) -> str:
    """Return the rows as JSON on a connection that has its role for good."""
    text: str = await conn.fetchval(SELECT_JSON, status)
    return text


def pinned(callers: dict[str, Caller]) -> dict[str, str]:
    """Return the settings of a connection that has the first caller's role for good."""
    return {"role": next(iter(callers.values())).role}


def _app(world: Path, mode: str) -> Starlette:
    url, callers = read_world(world)
    connections = Connections()
    trip = in_three_trips if mode == "trips" else in_one_trip

    async def rows(request: Request) -> Response:
        body = orjson.loads(await request.body())
        caller = callers[request.headers["x-client-key"]]
        status = body["params"]["arguments"]["filter"]["status"].removeprefix("eq.")
        async with connections.use() as conn:
            text = await trip(conn, caller, status)
        return Response(text, media_type="application/json")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await connections.open(url, 16, None if mode == "trips" else pinned(callers))
        yield

    return Starlette(routes=[Route("/mcp", rows, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Serve until ended."""
    port, world, mode = sys.argv[1:]
    uvicorn.run(
        _app(Path(world), mode),
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
