"""How long a call of a function takes, warm and cold, beside `deno serve` with the same handler."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, cast

from fluxbase.auth.keys import NewKey
from tests.bench.roster import OURS
from tests.bench.stage import on_stage

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from tests.bench.load import Http
    from tests.bench.world import World

HANDLER: Final = """\
export default async (req: Request): Promise<Response> => {
  const { n } = await req.json();
  return Response.json({ n: n + 1 });
};
"""
_SERVED: Final = HANDLER.replace("export default", "const handler =") + (
    "export default { fetch: handler };\n"
)
_TIMED: Final = (
    HANDLER.replace("export default", "const handler =")
    + """\
const times: number[] = [];
for (let n = 0; n < 2000; n++) {
  const begun = performance.now();
  await (await handler(new Request("http://x/", { method: "POST", body: `{"n":${n}}` }))).text();
  times.push(performance.now() - begun);
}
times.sort((a, b) => a - b);
console.log(times[1000]);
"""
)
_BODY: Final = b'{"n":1}'
_ANSWER: Final = {"n": 2}
_WARM: Final = 300
_COLD: Final = 20
_STARTS: Final = 10
_PAUSE: Final = 0.2
_PATIENCE: Final = 10.0
MOST_OVER: Final = 3.0  # ms of a warm call over the handler in its own process
MOST_COLD: Final = 60.0  # ms


async def measured(world: World) -> dict[str, Any]:
    """Return the medians in milliseconds; starts one server after another."""
    return await asyncio.to_thread(_measured, world, *await _keys(world))


def _measured(world: World, key: str, admin: str) -> dict[str, Any]:
    with on_stage(world, [OURS["ten"]]) as (ready, _):
        port = cast("Http", ready[OURS["ten"]]).port
        ours = _Client(port, {"X-Client-Key": key})
        for number in range(2 * _COLD + 1):
            _deploy(port, admin, f"f{number}")
        warm = ours.times("/api/v1/functions/f0", _WARM)
        cold = [ours.once(f"/api/v1/functions/f{n + 1}") for n in range(_COLD)]
        spare = [_later(ours, f"/api/v1/functions/f{_COLD + n + 1}") for n in range(_COLD)]
    deno = Path(sys.executable).with_name("deno")
    served, started = _served(str(deno), world.home)
    return {
        "warm": median(warm),
        "cold": median(cold),
        "spare": median(spare),
        "served": median(served),
        "started": median(started),
        "inside": _inside(str(deno), world.home),
    }


def ratios(found: Mapping[str, float]) -> list[str]:
    """Return what came of it in words."""
    over = found["warm"] - found["inside"]
    warm, served = found["warm"], found["served"]
    return [
        f"warm call of a function over HTTP: {warm:.2f} ms, {over:.2f} ms over its handler called "
        f"in its own process (at most {MOST_OVER:g}: {_mark(over <= MOST_OVER)}); "
        f"{warm / served:.1f} x `deno serve` without keys, limits or records ({served:.2f} ms)",
        f"cold call of a function: {found['cold']:.0f} ms (at most {MOST_COLD:g}: "
        f"{_mark(found['cold'] <= MOST_COLD)}); {found['cold'] / found['started']:.2f} x the start "
        f"of `deno serve` to its first answer ({found['started']:.0f} ms); "
        f"{found['spare']:.0f} ms when a moment has passed since the last, and a process is ready",
    ]


def _later(client: _Client, path: str) -> float:
    time.sleep(_PAUSE)
    return client.once(path)


def _mark(held: bool) -> str:
    return "met" if held else "MISSED"


async def _keys(world: World) -> tuple[str, str]:
    keys = world.backend.keys
    caller = await keys.create("client_key", NewKey("bench functions", ("execute:functions",)))
    admin = await keys.create("service_key", NewKey("bench deploys", ("*",)))
    return caller.key, admin.key


def _deploy(port: int, key: str, name: str) -> None:
    client = _Client(port, {"X-Service-Key": key})
    body = json.dumps({"name": name, "code": HANDLER, "public": True}).encode()
    client.ask("/mcp/tools/deploy_function", body)


class _Client:
    """One kept connection."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        self._headers = {"Content-Type": "application/json", **headers}

    def ask(self, path: str, body: bytes = _BODY) -> Any:
        self._connection.request("POST", path, body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def once(self, path: str) -> float:
        begun = time.perf_counter()
        assert self.ask(path) == _ANSWER
        return (time.perf_counter() - begun) * 1000

    def times(self, path: str, many: int) -> list[float]:
        for _ in range(20):
            self.once(path)
        return [self.once(path) for _ in range(many)]


def _served(deno: str, home: Path) -> tuple[list[float], list[float]]:
    """Return the times of warm calls of `deno serve`, and those of its start to a first answer."""
    file = home / "served.ts"
    file.write_text(_SERVED)
    started: list[float] = []
    warm: list[float] = []
    for number in range(_STARTS):
        with _deno_serve(deno, file) as (port, begun):
            client = _Client(port, {})
            client.once("/")
            started.append((time.perf_counter() - begun) * 1000)
            if number == _STARTS - 1:
                warm = client.times("/", _WARM)
    return warm, started


@contextmanager
def _deno_serve(deno: str, file: Path) -> Generator[tuple[int, float]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    command = [deno, "serve", "--quiet", "--host", "127.0.0.1", "--port", str(port), str(file)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            assert time.perf_counter() - begun < _PATIENCE
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
        yield port, begun
    finally:
        child.kill()
        child.wait()


def _inside(deno: str, home: Path) -> float:
    file = home / "timed.ts"
    file.write_text(_TIMED)
    done = subprocess.run(
        [deno, "run", "--quiet", str(file)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
