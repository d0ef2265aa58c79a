"""What code of a function does to the server that hears it, starts it and bundles it is in vain.

Floods, answers that nobody reads, calls that are given up at any moment, imports while bundling.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.functions.process import Process
from fluxbase.functions.sandbox import spawn
from tests.security.test_sandbox import (
    MIB,
    READS,
    attack,
    children,
    command,
    people,
    standing,
)
from tests.world import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.functions.service import Functions
    from tests.world import Caller


@pytest.fixture(scope="module")
async def stand(
    backend: Backend, home: Path, owner: asyncpg.Connection[asyncpg.Record]
) -> AsyncGenerator[tuple[Functions, Caller, Caller]]:
    async with standing(backend, home) as (functions, client):
        yield functions, *await people(backend, client)
    await owner.execute("DELETE FROM functions.functions; DELETE FROM functions.executions")


def orphans(memory: int) -> set[int]:
    """Return the processes for rooms of this test that have lost their parent."""
    mark = f"--max-old-space-size={memory * 6 // 10 // MIB}".encode()
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid for pid in found if mark in command(pid) and _parent(pid) == 1}


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


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
          // The number that the first call in a process has.
          const asked = { r: 2, t: "fetch", method: "GET", url: "https://example.com/" };
          const text = JSON.stringify({ ...asked, headers: [], n: 0 }) + "\\n";
          const line = new TextEncoder().encode(text);
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
