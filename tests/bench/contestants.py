"""Who takes part: each server started, its requests written down, its answer looked at once."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.bench.load import Contestant, Http, Loop, Pgbench
from tests.bench.processes import PEERS_PYTHON, PYTHON, Child, serving
from tests.bench.world import SELECT_JSON, STATUS, WANTED, World
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

FLUXBASE: Final = "fluxbase"
BARE: Final = "starlette-3"
FASTMCP: Final = "fastmcp"
BARE_MANY: Final = "starlette-3-200"

LABELS: Final = {
    FLUXBASE: "fluxbase",
    "fluxbase-modern": "fluxbase, 2026-07-28 request",
    BARE: "bare Starlette, 3 trips",
    "starlette-1": "bare Starlette, 1 trip, pinned role",
    FASTMCP: "FastMCP + asyncpg, 5 trips",
    "asyncpg-3": "asyncpg loop, 3 trips",
    "asyncpg-1": "asyncpg loop, 1 trip, pinned role",
    "pgbench-4": "pgbench BEGIN/claims/SELECT/COMMIT",
    "pgbench-1": "pgbench SELECT, pinned role",
    "fluxbase-200": "fluxbase, 200 keys in turn",
    BARE_MANY: "bare Starlette, 3 trips, 200 keys",
}
_MODERN: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"
_ARGUMENTS: Final = {"table": "tasks", "filter": {"status": f"eq.{STATUS}"}, "limit": WANTED}


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a server is asked, and where its rows stand in its answer."""

    version: str | None
    rows: tuple[str, ...]


_PLAIN: Final = _Kind(None, ())
_LEGACY: Final = _Kind(None, ("result", "structuredContent", "rows"))
_NEW: Final = _Kind(_MODERN, ("result", "structuredContent", "rows"))
_PEER: Final = _Kind("2025-11-25", ("result", "structuredContent", "result"))


@contextmanager
def contestants(world: World) -> Generator[dict[str, Contestant]]:
    """Start every server and yield the contestants by name, in the order of the table."""
    shared = world.file()
    url = world.backend.database.logins.client
    with ExitStack() as started:

        def start(name: str, *command: str) -> Child:
            return started.enter_context(serving(command, world.home / f"{name}.log"))

        ours = start(FLUXBASE, PYTHON, "-m", "fluxbase", "serve", *_configured(world))
        bare = start(BARE, PYTHON, "-m", "tests.bench.bare", "{port}", str(shared), "trips")
        pinned = start("starlette-1", PYTHON, "-m", "tests.bench.bare", "{port}", str(shared), "1")
        script = str(ROOT / "tests" / "bench" / "fastmcp_server.py")
        peer = start(FASTMCP, PEERS_PYTHON, script, "{port}", str(shared))
        first = world.callers[0]
        claims = first.claims.replace("'", "''")
        transaction = (
            "BEGIN;\n"
            f"SELECT set_config('request.jwt.claims', '{claims}', true), "
            "set_config('role', 'authenticated', true);\n"
            f"{_inline(SELECT_JSON)};\nCOMMIT;\n"
        )
        postmaster = world.postmaster
        yield {
            FLUXBASE: _http(world, FLUXBASE, ours, _LEGACY, 1),
            "fluxbase-modern": _http(world, "fluxbase-modern", ours, _NEW, 1),
            BARE: _http(world, BARE, bare, _PLAIN, 1),
            "starlette-1": _http(world, "starlette-1", pinned, _PLAIN, 1),
            FASTMCP: _http(world, FASTMCP, peer, _PEER, 1),
            "asyncpg-3": Loop(shared, "trips", postmaster),
            "asyncpg-1": Loop(shared, "pinned", postmaster),
            "pgbench-4": Pgbench(url, transaction, None, world.home, postmaster),
            "pgbench-1": Pgbench(
                url, f"{_inline(SELECT_JSON)};\n", first.role, world.home, postmaster
            ),
            "fluxbase-200": _http(world, "fluxbase-200", ours, _LEGACY, len(world.callers)),
            BARE_MANY: _http(world, BARE_MANY, bare, _PLAIN, len(world.callers)),
        }


def _configured(world: World) -> list[str]:
    """Write the configuration of our server, everything on, and return the words that name it."""
    path = world.home / "fluxbase.yaml"
    config = world.config
    mcp = {"enabled": True, "rate_limit_per_min": config.mcp.rate_limit_per_min}
    database = {"embedded": {"data_dir": str(config.database.embedded.data_dir)}}
    text: dict[str, Any] = {
        "mcp": mcp,
        "database": database,
        "auth": {"peppers_file": str(config.auth.peppers_file)},
        "migrations": {"dir": str(config.migrations.dir)},
        "audit": {"reads": True},
    }
    path.write_text(yaml.safe_dump(text), "utf-8")
    return ["--config", str(path), "--port", "{port}"]


def _inline(statement: str) -> str:
    return statement.replace("$1", f"'{STATUS}'")


def _http(world: World, name: str, child: Child, kind: _Kind, keys: int) -> Http:
    """Write the requests of a contestant and see that each key gets its own rows."""
    callers = world.callers[:keys]
    path = world.home / f"{name}.requests"
    sent = [_request(callers[n % keys].key, n + 1, kind) for n in range(max(keys, 200))]
    size = 0
    with path.open("wb") as file:
        for head, body in sent:
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            raw = f"POST /mcp HTTP/1.1\r\n{lines}\r\n".encode() + body
            file.write(b"%d\n%s\n" % (len(raw), raw))
    seen: set[int] = set()
    for head, body in sent[:keys]:
        ids, size = _answer(child, head, body, kind)
        if len(ids) != WANTED or ids & seen:
            raise RuntimeError(f"{name} answers with the wrong rows: {sorted(ids)}")
        seen |= ids
    return Http(child.pid, child.port, path, size, world.postmaster)


def _request(key: str, number: int, kind: _Kind) -> tuple[dict[str, str], bytes]:
    params: dict[str, Any] = {"name": "query_table", "arguments": _ARGUMENTS}
    head = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "X-Client-Key": key,
    }
    if kind.version is not None:
        head["MCP-Protocol-Version"] = kind.version
    if kind.version == _MODERN:
        head |= {"Mcp-Method": "tools/call", "Mcp-Name": "query_table"}
        params["_meta"] = {
            f"{_META}protocolVersion": _MODERN,
            f"{_META}clientInfo": {"name": "bench", "version": "1"},
            f"{_META}clientCapabilities": {},
        }
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    body = json.dumps(message, separators=(",", ":")).encode()
    return {**head, "Content-Length": str(len(body))}, body


def _answer(child: Child, head: dict[str, str], body: bytes, kind: _Kind) -> tuple[set[int], int]:
    """Return the ids of the rows in an answer, and the answer's length."""
    connection = HTTPConnection("127.0.0.1", child.port, timeout=30)
    try:
        connection.request("POST", "/mcp", body, head)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    try:
        rows: Any = json.loads(text)
        for name in kind.rows:
            rows = rows[name]
        ids = {int(row["id"]) for row in rows}
    except (ValueError, KeyError, TypeError):
        said = child.log.read_text("utf-8", "replace")[-2000:]
        raise RuntimeError(f"{response.status} {text[:1000]!r}\n{said}") from None
    lines = sum(len(name) + len(value) + 4 for name, value in response.getheaders())
    return ids, len(text) + lines + len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")
