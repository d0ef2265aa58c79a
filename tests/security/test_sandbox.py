"""What code of a function tries against the machine, its neighbours and the server is in vain.

Each attack is run against the sandbox for real. With bubblewrap off, the planted control shows what
it keeps out.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.functions.process import Process
from fluxbase.functions.sandbox import spawn
from tests.security.sandbox_attacks import FATAL
from tests.security.sandbox_stand import (
    MIB,
    SECRET,
    attack,
    children,
    loaded,
    orphans,
    people,
    settled,
    standing,
)
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.functions.service import Functions


@pytest.fixture(scope="module")
async def stand(
    backend: Backend, home: Path, owner: asyncpg.Connection[asyncpg.Record]
) -> AsyncGenerator[tuple[Functions, Caller, Caller]]:
    async with standing(backend, home) as (functions, client):
        yield functions, *await people(backend, client)
    await owner.execute("DELETE FROM functions.functions; DELETE FROM functions.executions")


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


async def test_what_is_nested_too_deeply_is_refused_and_not_waited_for(
    stand: tuple[Functions, Caller, Caller],
) -> None:
    _, admin, one = stand
    code = """export default async () => {
      const codes: string[] = [];
      for (const deep of [100, 250, 900]) {
        let value: unknown = 1;
        for (let i = 0; i < deep; i++) value = [value];
        try { await fluxbase.insert("notes", { title: value }); codes.push("ok"); }
        catch (e) { codes.push(e.code); }
      }
      return Response.json(codes);
    };"""
    codes = (await attack(admin, one, code))["body"]
    assert set(codes) <= {"FLX101", "FLX100"}, codes


async def test_code_that_speaks_while_it_is_loaded_is_ended_with_a_clear_error(
    stand: tuple[Functions, Caller, Caller],
) -> None:
    _, admin, one = stand
    code = """Deno.stdout.writeSync(new TextEncoder().encode('{"a":1}\\n'));
    export default () => 1;"""
    with pytest.raises(Refused) as caught:
        await attack(admin, one, code)
    assert caught.value.code == "FLX801"


class Instant:
    """A way out that answers at once, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def request(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        del method, url, headers, body
        self.asked += 1
        return 200, [], b"x" * 100_000


async def test_answers_that_a_function_does_not_read_are_not_gathered_for_it(
    backend: Backend, home: Path
) -> None:
    async with standing(backend, home, max_calls=200, egress=("example.com",)) as room:
        functions, client = room
        functions.outbound = out = Instant()
        admin, one = await people(backend, client)
        code = """export default () => {
          const asked = { t: "fetch", url: "https://example.com/", method: "GET", headers: [] };
          const line = new TextEncoder().encode(JSON.stringify({ ...asked, n: 0 }) + "\\n");
          for (let i = 0; i < 150; i++) Deno.stdout.writeSync(line);
          for (const end = Date.now() + 600; Date.now() < end;);
          return 1;
        };"""
        assert (await attack(admin, one, code))["body"] == 1
    assert 0 < out.asked < 60


async def test_others_are_served_while_a_function_writes_faster_than_it_is_heard() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    cat = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process = Process(cat, 1 << 20)
    process.begin()
    task = asyncio.create_task(others())
    assert cat.stdout is not None
    cat.stdout.feed_data(b'{"t":"log"}\n' * 10_000)
    for _ in range(10_000):
        await process.receive()
    task.cancel()
    await process.end()
    assert turns > 50


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


@pytest.mark.parametrize(
    "file", ["/proc/self/environ", "/proc/1/cmdline", "/dev/zero", "/dev/urandom", "/etc/passwd"]
)
async def test_whoever_bundles_has_neither_an_environment_to_import_nor_a_file_without_end(
    stand: tuple[Functions, Caller, Caller], file: str
) -> None:
    _, admin, _ = stand
    with pytest.raises(Refused) as caught:
        await admin.call("deploy_function", name="b", code=READS.replace("FILE", file), public=True)
    assert (caught.value.code, "Module not found" in caught.value.message) == ("FLX101", True)


async def given_up(work: Coroutine[Any, Any, Any], after: float, turns: int = 0) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(after)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=20)
    assert done, "it hangs"


async def test_calls_that_are_given_up_at_any_moment_leave_no_process_and_lose_no_room(
    backend: Backend, home: Path
) -> None:
    memory = 130 * MIB
    async with standing(backend, home, memory=memory, spare=0) as (functions, client):
        admin, one = await people(backend, client)
        code = "export default () => 1"
        await admin.call("deploy_function", name="one", code=code, public=True)
        for n in range(60):
            await given_up(one.call("invoke_function", name="one"), n % 30 * 0.002)
            functions.pool.forget(lambda _: False)
        end = time.monotonic() + 20
        while functions.pool.count or children(memory):
            assert time.monotonic() < end, (functions.pool.count, children(memory))
            await asyncio.sleep(0.05)
            functions.pool.forget(lambda _: False)
        assert orphans(memory) == set()
        assert (await one.call("invoke_function", name="one"))["body"] == 1


async def test_a_child_that_is_given_up_while_it_starts_is_not_waited_for() -> None:
    pipe = asyncio.subprocess.PIPE
    for turns in range(10):
        # What it starts in turn holds the line open, as Deno does for a while.
        await given_up(spawn("/bin/sh", "-c", "sleep 25 & wait", stdout=pipe), 0, turns)


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
