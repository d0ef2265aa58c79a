"""A server with a room of functions of its own, and what runs below it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2

from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from fluxbase.config.functions import Functions as Rules
from fluxbase.egress.request import Outbound
from fluxbase.functions.service import Functions
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.app.backend import Backend

MIB: Final = 1 << 20
SECRET: Final = "only the server may read this"
LIMITS: Final[dict[str, Any]] = {
    "memory": 160 * MIB, "total_memory": 800 * MIB, "cpu_time": 1, "timeout": 4, "spare": 1,
    "max_log": 2000, "max_calls": 20, "max_response": 100_000, "max_request": 100_000,
}  # fmt: skip


@asynccontextmanager
async def standing(
    backend: Backend, home: Path, **rules: Any
) -> AsyncGenerator[tuple[Functions, httpx2.AsyncClient]]:
    """Serve with a room of functions of its own."""
    config = Rules(cache_dir=backend.functions.config.cache_dir, **{**LIMITS, **rules})
    outbound = Outbound((), None, config.max_response)
    functions = Functions(config, backend.database, None, outbound)
    other = replace(backend, postgres=None, functions=functions)
    try:
        async with Server(other).running() as server:
            transport = httpx2.ASGITransport(app=server)
            async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
                yield functions, client
    finally:
        await functions.close()
        await outbound.close()


async def people(backend: Backend, client: httpx2.AsyncClient) -> tuple[Caller, Caller]:
    admin = await backend.keys.create("service_key", NewKey("sandbox", ("*",)))
    scopes = ("execute:functions", "read:tables", "write:tables")
    user = await backend.keys.create("client_key", NewKey("sandboxed", scopes, user_id=USER1))
    return Caller("admin", admin.id, admin.key, client), Caller("one", user.id, user.key, client)


async def attack(admin: Caller, one: Caller, code: str, seconds: float = 20) -> dict[str, Any]:
    """Deploy code and invoke it; it has time enough to meet every other limit first."""
    await admin.call(
        "deploy_function", name="evil", code=code, public=True, timeout_seconds=seconds
    )
    return await one.call("invoke_function", name="evil")


def children(memory: int = LIMITS["memory"]) -> set[int]:
    """Return all processes below this one that run Deno, or bubblewrap, for rooms of this test."""
    mark = f"--max-old-space-size={memory * 6 // 10 // MIB}".encode()
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            names[int(entry.name)] = name
            parents[int(entry.name)] = int(rest.split()[1])
    below = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in below} - below:
        below |= more
    return {p for p in below if names.get(p) in ("deno", "bwrap") and mark in _command(p)}


def orphans(memory: int) -> set[int]:
    """Return the processes for rooms of this test that have lost their parent."""
    mark = f"--max-old-space-size={memory * 6 // 10 // MIB}".encode()
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid for pid in found if mark in _command(pid) and _parent(pid) == 1}


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def settled(functions: Functions) -> None:
    """See that no more processes are left than the room counts: each is Deno in bubblewrap."""
    end = time.monotonic() + 10
    while len(children()) != 2 * functions.pool.count:
        assert time.monotonic() < end, (children(), functions.pool.count)
        await asyncio.sleep(0.05)


def loaded(code: str) -> str:
    """Return a function that runs code which the bundler has not seen."""
    return (
        f"const source = {_json_text(code)};\n"
        "const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));\n"
        "const inner = (u: string) => import(u);\n"
        "export default async (r: Request) => (await inner(url)).default(r);\n"
    )


def _json_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
