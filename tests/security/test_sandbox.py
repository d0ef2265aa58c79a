"""What code of a function tries against the machine, its neighbours and the server is in vain.

Each attack is run against the sandbox for real. With bubblewrap off, the planted control shows what
it keeps out.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from fluxbase.config.functions import Functions as Rules
from fluxbase.egress.request import Outbound
from fluxbase.functions.service import Functions
from tests.world import USER1, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

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


@pytest.fixture(scope="module")
async def stand(
    backend: Backend, home: Path, owner: asyncpg.Connection[asyncpg.Record]
) -> AsyncGenerator[tuple[Functions, Caller, Caller]]:
    async with standing(backend, home) as (functions, client):
        yield functions, *await people(backend, client)
    await owner.execute("DELETE FROM functions.functions; DELETE FROM functions.executions")


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
    return {p for p in below if names.get(p) in ("deno", "bwrap") and mark in command(p)}


def command(pid: int) -> bytes:
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


TRY: Final = """
export default async () => {
  const said = {};
  const attempt = async (name, work) => {
    try { const found = await work(); said[name] = "GOT " + String(found).slice(0, 60); }
    catch (e) { said[name] = e.name; }
  };
  BODY
  return Response.json(said);
};
"""
# What each may end with; everything else would be a hole.
DENIED: Final = {
    "NotCapable", "PermissionDenied", "TypeError", "NotSupported", "Error", "SyntaxError",
    "FluxbaseError", "NotFound", "ReferenceError",
}  # fmt: skip
ATTEMPTS: Final = {
    "read": 'await Deno.readTextFile("/etc/passwd")',
    "read_dir": 'JSON.stringify([...Deno.readDirSync("/")])',
    "stat": 'JSON.stringify(await Deno.stat("/etc"))',
    "write": 'await Deno.writeTextFile("/tmp/x", "x")',
    "node_fs": '(await import("node:fs")).readFileSync("/etc/passwd", "utf8")',
    "import_text": 'await import("/etc/passwd", { with: { type: "text" } })',
    "import_file": 'await import("file:///etc/passwd", { with: { type: "text" } })',
    "import_json": 'await import("file:///proc/self/environ", { with: { type: "json" } })',
    "import_bytes": 'await import("file:///proc/1/environ", { with: { type: "bytes" } })',
    "environment": '(await import("node:process")).env.PATH.length',
    "proc": 'await Deno.readTextFile("/proc/self/environ")',
    "hostname": "Deno.hostname()",
    "run": 'await new Deno.Command("/bin/sh").output()',
    "node_spawn": '(await import("node:child_process")).execSync("id")',
    "ffi": 'Deno.dlopen("/lib/x86_64-linux-gnu/libc.so.6", {})',
    "connect": 'await Deno.connect({ hostname: "127.0.0.1", port: 5432 })',
    "listen": "Deno.listen({ port: 0 })",
    "dns": 'await Deno.resolveDns("example.com", "A")',
    "node_net": 'await new Promise((y, n) => import("node:net").then((m) => { '
    'm.connect(80, "1.1.1.1").on("connect", y).on("error", n) }))',
    "unix": 'await Deno.connect({ transport: "unix", path: "/tmp/s" })',
    "fetch": 'await fetch("https://example.com/")',
    "fetch_meta": 'await fetch("http://169.254.169.254/latest/")',
    "fetch_file": 'await fetch("file:///etc/passwd")',
    "websocket": 'await new Promise((y, n) => { const w = new WebSocket("ws://127.0.0.1:1/"); '
    "w.onopen = y; w.onerror = (e) => n(new Error(e.message)) })",
    "kill": 'Deno.kill(2, "SIGKILL")',
    "signals": 'Deno.kill(Deno.ppid, "SIGSTOP")',
    "grant": 'JSON.stringify(await Deno.permissions.request({ name: "read" })).includes("granted") '
    '? "granted" : n_o',
    "remote": 'await import("https://esm.sh/zod")',
    "npm": 'await import("npm:zod")',
    "worker": "await new Promise((y, n) => { const w = new Worker(URL.createObjectURL(new Blob(["
    "\"Deno.readTextFile('/etc/passwd').then(t => postMessage(t), e => { throw e })\"]))"
    ', { type: "module" }); w.onmessage = (e) => y(e.data); '
    "w.onerror = (e) => { e.preventDefault(); n(new Error(e.message)) } })",
    "service_tool": 'JSON.stringify(await fluxbase.call("create_schema", { name: "x" }))',
    "not_a_tool": 'JSON.stringify(await fluxbase.call({ a: 1 }, "x"))',
}


async def test_nothing_of_the_machine_can_be_reached(
    stand: tuple[Functions, Caller, Caller],
) -> None:
    functions, admin, one = stand
    body = "".join(
        f'await attempt("{name}", async () => {code});\n' for name, code in ATTEMPTS.items()
    )
    said = (await attack(admin, one, loaded(TRY.replace("BODY", body))))["body"]
    assert {n: s for n, s in said.items() if s not in DENIED} == {}
    assert said.keys() == ATTEMPTS.keys()
    await settled(functions)


def loaded(code: str) -> str:
    """Return a function that runs code which the bundler has not seen."""
    return (
        f"const source = {json_text(code)};\n"
        "const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));\n"
        "const inner = (u: string) => import(u);\n"
        "export default async (r: Request) => (await inner(url)).default(r);\n"
    )


def json_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


FLOOD: Final = """
const bytes = new TextEncoder().encode('LINE\\n'.repeat(50_000));
for (;;) Deno.stdout.writeSync(bytes);
"""
FATAL: Final = {
    "spins": ("for (;;);", "FLX801", "processor time"),
    "spins in a promise": ("const f = () => Promise.resolve().then(f); await f();", "FLX801", ""),
    "never ends": ("await new Promise(() => {});", "FLX503", "time limit of 2 s"),
    "fills the heap": ("const a = []; for (;;) a.push(new Array(1e5).fill({}));", "FLX801", ""),
    "fills buffers": (
        "const a = []; for (;;) { a.push(new Uint8Array(1 << 24).fill(1)); "
        "await new Promise((y) => setTimeout(y, 5)); }",
        "FLX801", "memory",
    ),
    "one large buffer": ("new Uint8Array(2 ** 31).fill(1); for (;;);", "FLX801", ""),
    "grows a string": ("let s = 'x'; for (;;) { s += s; s.charCodeAt(9); }", "FLX801", ""),
    "fills workers": (
        "const u = URL.createObjectURL(new Blob(['const a = []; for (;;) a.push(new Uint8Array("
        "1 << 24).fill(1))'])); for (let i = 0; i < 4; i++) new Worker(u, { type: 'module' }); "
        "await new Promise(() => {});",
        "FLX801", "",
    ),
    "ends its process": ("Deno.exit(0);", "FLX801", "ended its process"),
    "ignores signals": (
        "try { Deno.addSignalListener('SIGTERM', () => {}) } catch {} for (;;);",
        "FLX801", "",
    ),
    "writes to standard output": (
        "Deno.stdout.writeSync(new TextEncoder().encode('hello\\n')); for (;;);",
        "FLX801", "standard output",
    ),
    "floods standard output": (
        "const b = new Uint8Array(1 << 20).fill(65); for (;;) Deno.stdout.writeSync(b);",
        "FLX801", "",
    ),
    "floods its log": ("for (;;) console.log('x'.repeat(1000));", "FLX801", "wrote more"),
    "floods its calls": (FLOOD.replace("LINE", '{"t":"call"}'), "FLX801", "at once"),
    "says nothing that has a meaning": (
        "Deno.stdout.writeSync(new TextEncoder().encode('{}\\n')); await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "answers too much": ("return new Response('x'.repeat(200_000));", "FLX801", "100000 bytes"),
    "answers too much past the runner": (
        "const said = { t: 'done', status: 200, headers: [], body: 'x'.repeat(200_000) };"
        "const bytes = new TextEncoder().encode(JSON.stringify(said) + '\\n');"
        "for (let n = 0; n < bytes.length;) n += Deno.stdout.writeSync(bytes.subarray(n));"
        "await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "answers nonsense": (
        "Deno.stdout.writeSync(new TextEncoder().encode('{\"t\":\"done\",\"status\":\"x\"}\\n'));"
        "await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "throws nothing": ("throw undefined;", "FLX801", "threw"),
    "throws a proxy": ("throw new Proxy({}, { get() { throw 1 } });", "FLX801", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FATAL)
async def test_what_goes_over_a_limit_ends_in_a_clear_error_and_leaves_no_process(
    stand: tuple[Functions, Caller, Caller], name: str
) -> None:
    functions, admin, one = stand
    code, expected, part = FATAL[name]
    seconds = 2 if expected == "FLX503" else 20
    with pytest.raises(Refused) as caught:
        await attack(admin, one, f"export default async () => {{ {code} }};", seconds)
    assert caught.value.code == expected, caught.value.message
    assert part in caught.value.message
    await settled(functions)
    # And the next call is served as if nothing had been.
    await admin.call("deploy_function", name="good", code="export default () => 7", public=True)
    assert (await one.call("invoke_function", name="good"))["body"] == 7


async def test_the_server_holds_no_more_memory_after_all_of_it(
    stand: tuple[Functions, Caller, Caller],
) -> None:
    functions, admin, one = stand
    code = "export default async () => { for (;;) console.log('x'.repeat(10_000)); };"
    await admin.call("deploy_function", name="evil", code=code, public=True, timeout_seconds=3)

    async def floods(times: int) -> int:
        for _ in range(times):
            with pytest.raises(Refused):
                await one.call("invoke_function", name="evil")
        return _rss(os.getpid())

    before = await floods(3)
    assert await floods(6) - before < 16 * MIB
    await settled(functions)


async def test_a_log_has_an_end_and_says_so(stand: tuple[Functions, Caller, Caller]) -> None:
    _, admin, one = stand
    code = "export default () => { for (let i = 0; i < 50; i++) console.log('x'.repeat(100)); };"
    answer = await attack(admin, one, code)
    logs = await one.call("get_function_logs", execution_id=answer["execution_id"])
    [execution] = logs["executions"]
    assert len(execution["lines"]) == 20
    assert execution["lines_lost"] == 30


async def test_it_asks_for_no_more_than_it_may(stand: tuple[Functions, Caller, Caller]) -> None:
    _, admin, one = stand
    code = """export default async () => {
      const codes: string[] = [];
      for (let i = 0; i < 25; i++) {
        try { await fluxbase.query("news", { limit: 1 }); codes.push("ok"); }
        catch (e) { codes.push(e.code); }
      }
      return Response.json(codes);
    };"""
    codes = (await attack(admin, one, code))["body"]
    assert codes == ["ok"] * 20 + ["FLX501"] * 5


async def test_calls_of_one_key_at_a_time_are_bounded(backend: Backend, home: Path) -> None:
    async with standing(backend, home, concurrency_per_key=2) as (_, client):
        admin, one = await people(backend, client)
        code = "export default () => new Promise((y) => setTimeout(() => y(new Response()), 400));"
        await admin.call("deploy_function", name="slow", code=code, public=True)
        calls = [one.call("invoke_function", name="slow") for _ in range(4)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        refused = [e.code for e in ended if isinstance(e, Refused)]
        assert refused == ["FLX501", "FLX501"]


async def test_a_hundred_functions_stay_within_the_memory_for_all(
    backend: Backend, home: Path
) -> None:
    memory = 150 * MIB
    room = standing(backend, home, memory=memory, total_memory=600 * MIB)
    async with room as (functions, client):
        admin, one = await people(backend, client)
        many = int(os.environ.get("FUNCTIONS", "30"))
        for n in range(many):
            code = f"export default () => {n};"
            await admin.call("deploy_function", name=f"f{n}", code=code, public=True)
        most = 0
        for turn in range(many * 2):
            n = turn * 37 % many
            assert (await one.call("invoke_function", name=f"f{n}"))["body"] == n
            most = max(most, len(children(memory)))
        assert functions.pool.count <= 4
        held = sum(_rss(pid) for pid in children(memory))
        assert held < 600 * MIB
        assert most <= 2 * 5  # one may still be ending


def _rss(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


READS: Final = "import text from 'FILE' with { type: 'text' }; export default () => text;"
AT_RUN: Final = (
    "export default async () => (await import('file://FILE', { with: { type: 'text' } })).default;"
)


@pytest.mark.parametrize("sandbox", ["bubblewrap", "deno"])
async def test_files_are_read_by_importing_them_only_where_bubblewrap_is_off(
    backend: Backend, home: Path, sandbox: str
) -> None:
    secret = home / "secret.txt"
    secret.write_text(SECRET)
    async with standing(backend, home, sandbox=sandbox) as (_, client):
        admin, one = await people(backend, client)
        found: list[str] = []
        for code in (READS, loaded(AT_RUN)):
            with suppress(Refused):
                answer = await attack(admin, one, code.replace("FILE", str(secret)))
                found.append(answer["body"])
    # While it runs, Deno alone lets no text be imported from a file either.
    assert found == ([SECRET] if sandbox == "deno" else [])


async def test_all_processes_end_with_the_room(backend: Backend, home: Path) -> None:
    memory = 140 * MIB
    async with standing(backend, home, memory=memory) as (_, client):
        admin, one = await people(backend, client)
        await attack(admin, one, "export default () => 1")
        assert children(memory)
    end = time.monotonic() + 5
    while children(memory):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
