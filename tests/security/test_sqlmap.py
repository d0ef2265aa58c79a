"""sqlmap against every tool, and against planted holes that it must find in the same run.

One hole tells what it finds; the other says nothing, so that only waiting can show it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.security.test_matrix import TOOLS, files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from socket import socket

    import httpx2
    from starlette.requests import Request

    from fluxbase.app.server import Server
    from tests.world import Caller

__all__ = ["files"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("files")]

# What is SQL by its meaning: a tool that runs it does what sqlmap takes for a hole.
SQL: Final = {"sql", "using", "check", "default_value", "generated"}
# What the matrix asks says too little of these; here is all that becomes part of a statement.
MORE: Final[dict[str, dict[str, Any]]] = {
    "query_table": {
        "select": "id,title,comments(body)",
        "filter": {"title": {"ilike": "a%"}, "comments.body": {"neq": "x"}},
        "order": "title.desc",
        "count": "exact",
        "output": "json",
    },
    "count_records": {
        "filter": {"title": "eq.first", "or": [{"rank": {"gt": 1}}, {"body": {"eq": "x"}}]}
    },
    "insert_record": {"idempotency_key": "k"},
    "update_record": {"returning": "id,title", "filter": {"id": 1, "title": {"neq": "x"}}},
    "delete_record": {"returning": "id,title", "filter": {"id": 1, "title": {"neq": "x"}}},
    "search_vectors": {
        "column": "v",
        "metric": "cosine",
        "filter": {"id": {"gt": 0}},
        "select": "id",
        "threshold": 0.1,
    },
    "create_collection": {"dry_run": True, "dimensions": 2},
    "delete_collection": {"name": "matrix"},
    "list_objects": {"prefix": "k", "start_after": "a"},
    "upload_object": {"content_type": "text/plain", "metadata": {"a": "b"}},
    "copy_object": {"to_bucket": "matrix"},
    "move_object": {"to_bucket": "matrix"},
    "create_signed_url": {"method": "get", "content_type": "text/plain"},
    "execute_sql": {"sql": "SELECT $1::text AS x", "params": ["x"], "limit": 5},
    "explain_query": {"sql": "SELECT $1::text AS x", "params": ["x"]},
    "submit_job": {"namespace": "default", "dedupe_key": "k", "priority": 1, "max_attempts": 2},
    "list_jobs": {"namespace": "default", "job_name": "matrix_job", "status": "pending"},
    "create_schedule": {"namespace": "default", "time_zone": "UTC", "payload": {"a": 1}},
    "publish_job": {"namespace": "default", "description": "d", "queue": "default"},
    "list_tables": {"schema": "public"},
    "list_policies": {"table": "notes"},
    "generate_types": {"language": "python", "schema": "public"},
    "create_index": {"method": "btree", "schema": "public"},
    "create_policy": {"command": "select", "roles": ["authenticated"], "schema": "public"},
    "drop_policy": {"schema": "public"},
    "create_enum": {"schema": "public"},
    "alter_column": {"type": "varchar(80)", "schema": "public"},
    "alter_policy": {"roles": ["authenticated"], "schema": "public"},
    "rename_policy": {"schema": "public"},
    "alter_enum": {"before": "glad", "schema": "public"},
    "rename_index": {"schema": "public"},
    "rename_enum": {"schema": "public"},
    "invoke_rpc": {"namespace": "default"},
    "set_secret": {"namespace": "default"},
    "list_secrets": {"namespace": "default"},
}
PROGRAM: Final = str(Path(sys.executable).with_name("sqlmap"))
FOUND: Final = "sqlmap identified the following injection point"
NOTHING: Final = "all tested parameters do not appear to be injectable"
PATIENCE: Final = 600


class Listener(uvicorn.Server):
    """A server that tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@asynccontextmanager
async def listening(app: Any) -> AsyncGenerator[str]:
    """Serve an application on a real socket of this loop."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="error")
    server = Listener(config)
    task = asyncio.create_task(server.serve())
    await server.up.wait()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def sqlmap(url: str, arguments: dict[str, Any], key: str, folder: Path) -> str:
    """Return what sqlmap says of a JSON body."""
    command = (
        *(PROGRAM, "--batch", "--disable-coloring", "--flush-session"),
        *("-u", url, "--method", "POST", "--data", json.dumps(arguments)),
        *("--headers", f"Host: test\nContent-Type: application/json\nX-Service-Key: {key}"),
        *("--dbms", "PostgreSQL", "--level", "1", "--risk", "1", "--technique", "BEUST"),
        *("--time-sec", "2"),
        *("--ignore-code", "*"),
        *("--skip", ",".join(sorted(SQL)), "--output-dir", str(folder)),
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return told.decode()


def holes(owner: asyncpg.Connection[asyncpg.Record]) -> list[Route]:
    """Return two doors with a hole: one whose answers tell of it, and one that says nothing."""

    async def told(request: Request) -> Response:
        asked = await request.json()
        sql = f"SELECT id FROM public.news WHERE headline = '{asked['table']}'"
        return JSONResponse([row["id"] for row in await owner.fetch(sql)])

    async def silent(request: Request) -> Response:
        asked = await request.json()
        with contextlib.suppress(asyncpg.PostgresError):
            await owner.execute(f"SELECT 1 FROM public.news WHERE headline = '{asked['table']}'")
        return Response(status_code=204)

    return [Route("/told", told, methods=["POST"]), Route("/silent", silent, methods=["POST"])]


@pytest.mark.anyio
async def test_sqlmap_finds_the_planted_holes_and_nothing_in_any_tool(
    server: Server,
    callers: dict[str, Caller],
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection[asyncpg.Record],
    tmp_path: Path,
) -> None:
    key = callers["service"].key
    app = Starlette(routes=[*holes(owner), Mount("/", server)])
    async with listening(app) as origin:
        for hole in ("told", "silent"):
            found = await sqlmap(f"{origin}/{hole}", {"table": "headline 1"}, key, tmp_path / hole)
            assert FOUND in found, found
        for name, tool in TOOLS.items():
            arguments = {**tool["ask"], **MORE.get(name, {})}
            if arguments.keys() <= SQL:
                continue
            path = f"/mcp/tools/{name}"
            first = await http.post(path, json=arguments, headers={"X-Service-Key": key})
            # What is refused at once would hide all that comes after.
            assert (first.status_code == 200) is ("refused" not in tool), first.text
            found = await sqlmap(origin + path, arguments, key, tmp_path / name)
            assert NOTHING in found, found
            assert FOUND not in found, found
