"""Servers that speak MCP over HTTP: ours, and what they are compared with."""

from __future__ import annotations

import json
import platform
import subprocess
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.bench.peers.asking import LeftOutError, Message, Rows, Speech, compact, texts
from tests.bench.processes import NPM, PEERS_PYTHON, PYTHON
from tests.bench.vectors import ASKED, questions
from tests.bench.work import WORKS
from tests.bench.world import POOL
from tests.programs import ROOT

if TYPE_CHECKING:
    from tests.bench.work import Work
    from tests.bench.world import Caller, World

_MODERN: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"
_LEGACY_PEERS: Final = "2025-11-25"


def _message(
    version: str | None, tool: str, arguments: dict[str, Any], key: str | None, number: int
) -> Message:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    head = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    if key is not None:
        head["X-Client-Key"] = key
    if version is not None:
        head["MCP-Protocol-Version"] = version
    if version == _MODERN:
        head |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        params["_meta"] = {
            f"{_META}protocolVersion": _MODERN,
            f"{_META}clientInfo": {"name": "bench", "version": "1"},
            f"{_META}clientCapabilities": {},
        }
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return Message("POST", "/mcp", head, compact(call))


def _ours(version: str | None) -> Speech:
    def ask(work: Work, caller: Caller, number: int) -> Message:
        return _message(version, work.tool, work.arguments, caller.key, number)

    def rows(work: Work, answer: Any) -> Rows:
        return answer["result"]["structuredContent"]["records" if work.writes else "rows"]

    return Speech(ask, rows)


LEGACY: Final = _ours(None)
MODERN: Final = _ours(_MODERN)


def searching(work: Work, caller: Caller, question: int) -> Message:
    """Return the call that looks for what is near a question."""
    arguments = {**work.arguments, "embedding": questions()[question]}
    return _message(None, work.tool, arguments, caller.key, question)


SEARCHES: Final = Speech(
    lambda work, caller, number: searching(work, caller, number % ASKED),
    lambda _, answer: answer["result"]["structuredContent"]["results"],
)


def fluxbase(world: World, workers: int, storage: dict[str, Any] | None = None) -> list[str]:
    """Return the command of our server, with keys, limits and audit on; metrics always are.

    `storage` says where it keeps files, in place of the default.

    Raises:
        LeftOutError: it cannot run with that many workers.
    """
    command = [PYTHON, "-m", "fluxbase", "serve"]
    many: list[str] = []
    if workers > 1:
        known = subprocess.run([*command, "--help"], check=False, capture_output=True, text=True)
        if "--workers" not in known.stdout:
            raise LeftOutError("this version of `fluxbase serve` has no --workers")
        many = ["--workers", str(workers)]
    path = world.home / f"fluxbase-{workers}{storage['backend'] if storage else ''}.yaml"
    config = world.config
    text: dict[str, Any] = {
        "mcp": {"enabled": True, "rate_limit_per_min": config.mcp.rate_limit_per_min},
        "database": {
            "embedded": {"data_dir": str(config.database.embedded.data_dir)},
            "client_pool_size": POOL // workers,
        },
        "auth": {"peppers_file": str(config.auth.peppers_file)},
        "migrations": {"dir": str(config.migrations.dir)},
        "audit": {"reads": True},
        **({"storage": storage} if storage else {}),
    }
    path.write_text(yaml.safe_dump(text), "utf-8")
    return [*command, "--config", str(path), "--port", "{port}", *many]


def fastmcp(world: World) -> list[str]:
    """Return the command of a FastMCP server with the same tool."""
    script = ROOT / "tests" / "bench" / "peers" / "fastmcp_server.py"
    return [PEERS_PYTHON, str(script), "{port}", str(world.file)]


def _ask_fastmcp(work: Work, caller: Caller, number: int) -> Message:
    return _message(_LEGACY_PEERS, work.tool, work.arguments, caller.key, number)


FASTMCP: Final = Speech(
    _ask_fastmcp, lambda _, answer: answer["result"]["structuredContent"]["result"]
)


def toolbox(world: World, caller: Caller) -> list[str]:
    """Return the command of MCP Toolbox, whose connections have one caller's role for good.

    Raises:
        LeftOutError: it is not made for this machine.
    """
    machine = {"x86_64": "x64"}.get(platform.machine(), platform.machine())
    package = f"server-{platform.system().lower()}-{machine}"
    # The package's own launcher is a process more, and does not pass signals on.
    program = NPM / "@toolbox-sdk" / package / "bin" / "toolbox"
    if not program.exists():
        raise LeftOutError(f"MCP Toolbox does not come as {package}")
    program.chmod(0o755)
    at = world.address
    source: dict[str, Any] = {
        "kind": "source",
        "name": "database",
        "type": "postgres",
        "host": "localhost",
        "port": at.port,
        "database": at.database,
        "user": at.user,
        "password": at.password,
        "queryParams": {
            "host": at.directory,
            "role": caller.role,
            "pool_max_conns": str(POOL),
            "pool_min_conns": str(POOL),
        },
    }
    path = world.home / f"toolbox-{caller.role}.yaml"
    path.touch(mode=0o600)
    tools = [_toolbox_tool(work) for work in WORKS.values() if not work.writes]
    path.write_text(yaml.safe_dump_all([source, *tools], sort_keys=False), "utf-8")
    quiet = ["--disable-reload", "--disable-version-check", "--log-level", "ERROR"]
    return [
        str(program),
        "--config",
        str(path),
        "--address",
        "127.0.0.1",
        "--port",
        "{port}",
        *quiet,
    ]


def _toolbox_tool(work: Work) -> dict[str, Any]:
    return {
        "kind": "tool",
        "name": work.name,
        "type": "postgres-sql",
        "source": "database",
        "description": f"Asks for {work.name}",
        "parameters": [{"name": "status", "type": "string", "description": "The rows' status"}],
        "statement": work.sql,
    }


def _ask_toolbox(work: Work, caller: Caller, number: int) -> Message:
    return _message(_LEGACY_PEERS, work.name, {"status": work.value}, None, number)


TOOLBOX: Final = Speech(_ask_toolbox, lambda _, answer: texts(answer))


def server_postgres(world: World, caller: Caller) -> str:
    """Return the address for server-postgres; its connections have one caller's role for good."""
    at = world.address
    return (
        f"postgresql://{at.user}:{at.password}@localhost:{at.port}/{at.database}"
        f"?host={at.directory}&options=-c%20role%3D{caller.role}"
    )


def as_sql_call(work: Work, number: int) -> str:
    """Return the line that asks `server-postgres` for a piece of work."""
    params = {"name": "query", "arguments": {"sql": work.inline(work.sql)}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
