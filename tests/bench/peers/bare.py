"""Routes of bare Starlette with the same SQL: no credentials, limits, checks, audit or protocol.

Run as `python -m tests.bench.peers.bare PORT WORLD trips|pinned KEY`.
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

from tests.bench.peers.connections import Connections
from tests.bench.work import WORKS, Work
from tests.bench.world import POOL, Caller, read_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request


async def in_three_trips(conn: Any, caller: Caller, statement: str, value: str) -> str:
    """Return the rows as JSON, entering and leaving a transaction for them."""
    await conn.execute(caller.entering)
    text: str = await conn.fetchval(statement, value)
    await conn.execute("COMMIT")
    return text


async def in_one_trip(conn: Any, _caller: Caller, statement: str, value: str) -> str:
    """Return the rows as JSON on a connection that has its role for good."""
    text: str = await conn.fetchval(statement, value)
    return text


def _value(work: Work, arguments: dict[str, Any]) -> str:
    if work.writes:
        return arguments["data"]["title"]
    return arguments["filter"]["status"].removeprefix("eq.")


def _app(world: Path, mode: str, key: str) -> Starlette:
    url, callers = read_world(world)
    connections = Connections()
    trip = in_three_trips if mode == "trips" else in_one_trip

    def route(work: Work) -> Route:
        statement = work.sql_json

        async def rows(request: Request) -> Response:
            body = orjson.loads(await request.body())
            caller = callers[request.headers["x-client-key"]]
            value = _value(work, body["params"]["arguments"])
            async with connections.use() as conn:
                text = await trip(conn, caller, statement, value)
            return Response(text, media_type="application/json")

        return Route(f"/{work.name}", rows, methods=["POST"])

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        settings = {} if mode == "trips" else {"role": callers[key].role}
        await connections.open(url, POOL, settings)
        yield

    return Starlette(routes=[route(work) for work in WORKS.values()], lifespan=lifespan)


def main() -> None:
    """Serve until ended."""
    port, world, mode, key = sys.argv[1:]
    uvicorn.run(
        _app(Path(world), mode, key),
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
