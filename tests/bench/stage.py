"""Starts the servers of the chosen contestants, each once, and hands out who can be measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fluxbase.db.database import session_settings
from tests.bench.load import Carrying, Contestant, Http, Loop, Pgbench, Stdio
from tests.bench.peers import http_servers as http
from tests.bench.peers import mcp_servers as mcp
from tests.bench.peers.asking import LeftOutError, Speech, served
from tests.bench.processes import NODE, NPM, Child, serving
from tests.bench.roster import title
from tests.bench.transfers import TRANSFERS, Transfer
from tests.bench.vectors import ASKED, LEAST, NEAREST, SEARCH, near, questions
from tests.bench.work import EMBEDDED, FREE, INSERT, TEN, THOUSAND, Work
from tests.programs import ROOT
from tests.s3_servers import SECRET, s3_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tests.bench.world import Caller, World

# How the server of a contestant is started for the caller of a piece of work.
_Start = Callable[["World", "Caller"], list[str]]


@dataclass(slots=True)
class _Stage:
    """The servers that run."""

    world: World
    stack: ExitStack
    running: dict[tuple[str, ...], Child] = field(default_factory=dict[tuple[str, ...], Child])
    _s3: dict[str, Any] = field(default_factory=dict[str, Any])

    def server(self, command: list[str]) -> Child:
        """Start a server unless it runs already."""
        key = tuple(command)
        if key not in self.running:
            log = self.world.home / f"server-{len(self.running)}.log"
            try:
                self.running[key] = self.stack.enter_context(serving(command, log))
            except RuntimeError as error:
                raise LeftOutError(str(error)) from None
        return self.running[key]

    def s3(self) -> dict[str, Any]:
        """Start an S3 server unless it runs already; return how it is reached."""
        if not self._s3:
            try:
                reached = self.stack.enter_context(s3_server("rclone"))
            except FileNotFoundError:
                raise LeftOutError("scripts/s3-servers.sh put no rclone into .venv-s3") from None
            self._s3 |= reached.model_dump(mode="json", exclude_none=True)
            self._s3["secret_access_key"] = SECRET
        return self._s3


_Make = Callable[[_Stage, str], Contestant]


def _asked(start: _Start, speech: Speech, work: Work, *, many: bool = False) -> _Make:
    def make(stage: _Stage, name: str) -> Http:
        world = stage.world
        # Only one user has a thousand rows.
        caller = world.big if work is THOUSAND else world.callers[0]
        child = stage.server(start(world, caller))
        callers = world.callers if many else (caller,)
        return served(world, name, child, speech, work, callers)

    return make


def _fluxbase(world: World, _: Caller) -> list[str]:
    return mcp.fluxbase(world, 1)


def _workers(world: World, _: Caller) -> list[str]:
    return mcp.fluxbase(world, 2)


def _pinned(world: World, caller: Caller) -> list[str]:
    return http.starlette(world, "pinned", caller)


def _trips(world: World, _: Caller) -> list[str]:
    return http.starlette(world, "trips", world.callers[0])


def _fastmcp(world: World, _: Caller) -> list[str]:
    return mcp.fastmcp(world)


def _postgrest(world: World, _: Caller) -> list[str]:
    return http.postgrest(world)


def _loop(mode: str) -> _Make:
    return lambda stage, _: Loop(stage.world.file, mode, stage.world.postmaster)


def _pgbench(stage: _Stage, name: str) -> Pgbench:
    world, first = stage.world, stage.world.callers[0]
    select = f"{TEN.inline(TEN.sql_json)};\n"
    if name != "pgbench-4":
        return Pgbench(world.address, [select], first.role, world.home, world.postmaster)
    entering = first.entering.replace("; ", ";\n", 1)
    script = f"{entering};\n{select}COMMIT;\n"
    return Pgbench(world.address, [script], None, world.home, world.postmaster)


def _pgbench_near(stage: _Stage, _: str) -> Pgbench:
    world, first = stage.world, stage.world.callers[0]
    asked = questions()[:ASKED]
    return Pgbench(
        world.address,
        [f"{near(f':v{number}', ':most', ':least')};\n" for number in range(len(asked))],
        first.role,
        world.home,
        world.postmaster,
        session_settings(world.config.database),
        [
            f"most={NEAREST}",
            f"least={LEAST}",
            *(f"v{number}={vector}" for number, vector in enumerate(asked)),
        ],
    )


def _carried(transfer: Transfer) -> _Make:
    def make(stage: _Stage, _: str) -> Carrying:
        world = stage.world
        storage: dict[str, Any] = {"backend": "local", "path": str(world.home / "storage")}
        if transfer.place == "s3":
            storage = {"backend": "s3", "s3": stage.s3()}
        child = stage.server(mcp.fluxbase(world, 1, storage))
        path = f"{world.config.server.api_path}/storage"
        at = {"port": child.port, "path": path, "key": world.callers[0].key}
        return Carrying("http", at, transfer, child.pid, world.postmaster)

    return make


def _raw(transfer: Transfer) -> _Make:
    def make(stage: _Stage, _: str) -> Carrying:
        world = stage.world
        if transfer.place == "s3":
            return Carrying("s3", {"s3": stage.s3()}, transfer, 0, world.postmaster)
        at = {"folder": str(world.home / "raw")}
        return Carrying("file", at, transfer, 0, world.postmaster)

    return make


def _server_postgres(stage: _Stage, _: str) -> Stdio:
    world, first = stage.world, stage.world.callers[0]
    script = NPM / "@modelcontextprotocol" / "server-postgres" / "dist" / "index.js"
    if not script.exists() or not NODE.exists():
        raise LeftOutError("server-postgres or Node is missing")
    command = [str(NODE), str(script), mcp.server_postgres(world, first)]
    return Stdio(command, mcp.as_sql_call(TEN, 1), first.user_id, world.postmaster)


# How everyone on the roster is made, in its order.
CONTESTANTS: Final[dict[str, _Make]] = {
    "fluxbase": _asked(_fluxbase, mcp.LEGACY, TEN),
    "fluxbase-modern": _asked(_fluxbase, mcp.MODERN, TEN),
    "fluxbase-2w": _asked(_workers, mcp.LEGACY, TEN),
    "fluxbase-2w-modern": _asked(_workers, mcp.MODERN, TEN),
    "starlette-1": _asked(_pinned, http.STARLETTE, TEN),
    "starlette-3": _asked(_trips, http.STARLETTE, TEN),
    "toolbox": _asked(mcp.toolbox, mcp.TOOLBOX, TEN),
    "postgrest": _asked(_postgrest, http.TOKENS, TEN),
    "server-postgres": _server_postgres,
    "fastmcp": _asked(_fastmcp, mcp.FASTMCP, TEN),
    "asyncpg-1": _loop("pinned"),
    "asyncpg-3": _loop("trips"),
    "pgbench-1": _pgbench,
    "pgbench-4": _pgbench,
    "fluxbase-1000": _asked(_fluxbase, mcp.LEGACY, THOUSAND),
    "starlette-1-1000": _asked(_pinned, http.STARLETTE, THOUSAND),
    "toolbox-1000": _asked(mcp.toolbox, mcp.TOOLBOX, THOUSAND),
    "postgrest-1000": _asked(_postgrest, http.TOKENS, THOUSAND),
    "fluxbase-insert": _asked(_fluxbase, mcp.LEGACY, INSERT),
    "starlette-1-insert": _asked(_pinned, http.STARLETTE, INSERT),
    "starlette-3-insert": _asked(_trips, http.STARLETTE, INSERT),
    "postgrest-insert": _asked(_postgrest, http.TOKENS, INSERT),
    "fluxbase-embedded": _asked(_fluxbase, mcp.LEGACY, EMBEDDED),
    "starlette-1-embedded": _asked(_pinned, http.STARLETTE, EMBEDDED),
    "postgrest-embedded": _asked(_postgrest, http.TOKENS, EMBEDDED),
    "fluxbase-200": _asked(_fluxbase, mcp.LEGACY, TEN, many=True),
    "starlette-3-200": _asked(_trips, http.STARLETTE, TEN, many=True),
    "postgrest-200": _asked(_postgrest, http.TOKENS, TEN, many=True),
    "fluxbase-free": _asked(_fluxbase, mcp.LEGACY, FREE),
    "fluxbase-query": _asked(_fluxbase, mcp.LEGACY, TEN),
    "pgbench-free": _pgbench,
    "fluxbase-vectors": _asked(_fluxbase, mcp.SEARCHES, SEARCH),
    "pgbench-vectors": _pgbench_near,
}
for _name, _transfer in TRANSFERS.items():
    CONTESTANTS[f"fluxbase-{_name}"] = _carried(_transfer)
    CONTESTANTS[f"raw-{_name}"] = _raw(_transfer)


@contextmanager
def on_stage(
    world: World, names: Iterable[str]
) -> Generator[tuple[dict[str, Contestant], dict[str, str]]]:
    """Start what the named contestants need; yield those that can be measured, and why not all."""
    with ExitStack() as stack:
        stage = _Stage(world, stack)
        ready: dict[str, Contestant] = {}
        left_out: dict[str, str] = {}
        for name in names:
            try:
                ready[name] = CONTESTANTS[name](stage, name)
            except LeftOutError as error:
                # In one line of bearable length and without places: it goes into a page.
                left_out[name] = " ".join(str(error).replace(f"{ROOT}/", "").split())[:300]
                sys.stderr.write(f"left out: {title(name)}: {error}\n")
        yield ready, left_out
