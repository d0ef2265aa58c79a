"""The server binds, serves, reloads and drains: a real process, real signals, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fluxbase.errors import ConfigError
from fluxbase.http.server import bind, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

BOUND = 20.0
ROOT = str(Path(__file__).parents[3])

PROGRAM = """
import asyncio, contextlib, logging, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from fluxbase.http.server import bind, run, serve

say = lambda *words: print(*words, flush=True)
options = dict(drain_timeout=float(sys.argv[1]), drain_notice=float(sys.argv[2]))
ready, reloads = False, 0

async def slow(request):
    say("slow-begun")
    try:
        await asyncio.sleep(float(request.query_params["for"]))
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        say("slow-cancelled")
        raise
    say("slow-done")
    return PlainTextResponse("slow")

async def quick(request):
    return PlainTextResponse("quick")

async def readiness(request):
    return PlainTextResponse("", 200 if ready else 503)

@contextlib.asynccontextmanager
async def lifespan(app):
    say("startup")
    yield
    say("shutdown")

def on_ready():
    global ready
    ready = True
    say("ready", listener.getsockname()[1])

def on_drain():
    global ready
    ready = False
    say("drain")

async def on_reload():
    global reloads
    reloads += 1
    await asyncio.sleep(0)
    say("reload", reloads)
    if reloads == 1:
        raise ValueError("a bad configuration file")

logging.disable()
app = Starlette(lifespan=lifespan, routes=[
    Route("/slow", slow), Route("/", quick), Route("/ready", readiness)])
listener = bind("127.0.0.1", 0)
run(serve(app, sockets=[listener], on_ready=on_ready, on_drain=on_drain, on_reload=on_reload,
          **options))
say("returned")
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Child:
    """The program above, running."""

    process: asyncio.subprocess.Process
    port: int

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def rest(self) -> list[str]:
        assert self.process.stdout is not None
        return (await self.process.stdout.read()).decode().split("\n")[:-1]


@contextlib.asynccontextmanager
async def child(
    tmp_path: Path, *, drain_timeout: float = 10, drain_notice: float = 0
) -> AsyncGenerator[Child]:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        str(drain_timeout),
        str(drain_notice),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    try:
        async with asyncio.timeout(BOUND):
            started = Child(process, 0)
            assert await started.line() == "startup"
            word, port = (await started.line()).split()
            assert word == "ready"
            started.port = int(port)
            yield started
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def get(port: int, path: str, *lines: str) -> tuple[int, bytes]:
    """Ask once on a new connection; status 0 when refused or dropped."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, b""
    try:
        head = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", ""]
        writer.write("\r\n".join(head).encode())
        answer = await reader.read()
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    return (int(head_bytes.split()[1]) if head_bytes else 0), body


# -- stopping


async def test_sigterm_under_load_lets_the_request_in_flight_finish(tmp_path: Path) -> None:
    async with child(tmp_path) as server:
        served: list[int] = []
        stopped = asyncio.Event()

        async def load() -> None:
            while (status := (await get(server.port, "/"))[0]) == 200:
                served.append(status)
            stopped.set()

        loads = [asyncio.ensure_future(load()) for _ in range(4)]
        slow = asyncio.ensure_future(get(server.port, "/slow?for=1"))
        assert await server.line() == "slow-begun"
        server.process.send_signal(signal.SIGTERM)
        assert await slow == (200, b"slow")
        await stopped.wait()
        await asyncio.gather(*loads)
        assert len(served) > 20
        assert await server.rest() == ["drain", "slow-done", "shutdown", "returned"]


async def test_a_request_that_outlasts_the_drain_is_cancelled_before_the_app_stops(
    tmp_path: Path,
) -> None:
    async with child(tmp_path, drain_timeout=0.3) as server:
        slow = asyncio.ensure_future(get(server.port, "/slow?for=60"))
        assert await server.line() == "slow-begun"
        server.process.send_signal(signal.SIGTERM)
        assert (await slow)[0] in (0, 500)
        assert await server.rest() == ["drain", "slow-cancelled", "shutdown", "returned"]


async def test_readiness_is_off_while_the_listener_is_still_open(tmp_path: Path) -> None:
    async with child(tmp_path, drain_notice=1) as server:
        assert (await get(server.port, "/ready"))[0] == 200
        server.process.send_signal(signal.SIGINT)
        assert await server.line() == "drain"
        assert (await get(server.port, "/ready"))[0] == 503
        assert (await get(server.port, "/"))[0] == 200
        assert await server.rest() == ["shutdown", "returned"]
        assert (await get(server.port, "/"))[0] == 0


async def test_a_second_sigint_does_not_wait(tmp_path: Path) -> None:
    async with child(tmp_path, drain_timeout=60) as server:
        slow = asyncio.ensure_future(get(server.port, "/slow?for=60"))
        assert await server.line() == "slow-begun"
        server.process.send_signal(signal.SIGINT)
        assert await server.line() == "drain"
        server.process.send_signal(signal.SIGINT)
        assert (await slow)[0] in (0, 500)
        assert (await server.rest())[-1] == "returned"


async def test_sighup_reloads_and_a_failed_reload_changes_nothing(tmp_path: Path) -> None:
    async with child(tmp_path) as server:
        for count in (1, 2):
            server.process.send_signal(signal.SIGHUP)
            assert await server.line() == f"reload {count}"
            assert await get(server.port, "/") == (200, b"quick")
        server.process.send_signal(signal.SIGTERM)
        assert await server.rest() == ["drain", "shutdown", "returned"]


# -- starting


def test_a_taken_port_is_named_with_the_process_that_holds_it() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in caught.value.message
    assert caught.value.hint is not None
    assert f"process {os.getpid()} (" in caught.value.hint


async def test_nothing_starts_when_the_port_is_taken() -> None:
    started: list[str] = []
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError):
            await serve(
                small_app(started),
                port=first.getsockname()[1],
                on_ready=lambda: started.append("ready"),
            )
    assert started == []


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_literal_may_have_brackets(host: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        sock = bind(host, 0)
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    with sock:
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"\[::1\]:{port}: the port is in use"):
            bind(host, port)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 80), ("no.such.host.invalid", 80)])
def test_an_address_of_another_machine_is_a_config_error(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match=host):
        bind(host, port)


def test_a_port_out_of_range_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        bind("127.0.0.1", 70_000)


def test_two_servers_share_a_port_only_when_both_ask_to() -> None:
    with bind("127.0.0.1", 0, reuse_port=True) as first:
        first.listen()
        port = first.getsockname()[1]
        bind("127.0.0.1", port, reuse_port=True).close()
        with pytest.raises(ConfigError):
            bind("127.0.0.1", port)


# -- in this process: errors, cancellation, proxies


def small_app(seen: list[str], *, broken: bool = False) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        seen.append("startup")
        if broken:
            raise LookupError("no database")
        yield
        seen.append("shutdown")

    async def who(request: Request) -> PlainTextResponse:
        assert request.client is not None
        return PlainTextResponse(f"{request.url.scheme} {request.client.host}")

    return Starlette(lifespan=lifespan, routes=[Route("/", who)])


async def test_an_app_that_cannot_start_raises_its_own_error() -> None:
    seen: list[str] = []
    listener = bind("127.0.0.1", 0)
    with pytest.raises(LookupError, match="no database"):
        await serve(
            small_app(seen, broken=True),
            sockets=[listener],
            on_ready=lambda: seen.append("ready"),
        )
    assert seen == ["startup"]
    assert listener.fileno() == -1


@contextlib.asynccontextmanager
async def serving(seen: list[str], **options: Any) -> AsyncGenerator[int]:
    ready = asyncio.Event()
    listener = bind("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    app = small_app(seen)
    task = asyncio.ensure_future(
        serve(app, sockets=[listener], on_ready=ready.set, drain_timeout=5, **options)
    )
    async with asyncio.timeout(BOUND):
        await ready.wait()
        try:
            yield port
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_cancelled_server_drains_and_stops_its_app() -> None:
    seen: list[str] = []
    async with serving(seen, on_drain=lambda: seen.append("drain")) as port:
        assert (await get(port, "/"))[0] == 200
    assert seen == ["startup", "drain", "shutdown"]
    assert (await get(port, "/"))[0] == 0


FORWARDED = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ((), b"http 127.0.0.1"),
        (("192.0.2.0/24",), b"http 127.0.0.1"),
        (("127.0.0.1",), b"https 192.0.2.7"),
        (("127.0.0.0/8",), b"https 192.0.2.7"),
    ],
)
async def test_forwarded_headers_are_believed_only_from_a_listed_proxy(
    trusted: tuple[str, ...], expected: bytes
) -> None:
    async with serving([], trusted_proxies=trusted) as port:
        assert await get(port, "/", *FORWARDED) == (200, expected)


@pytest.mark.parametrize("proxy", ["*", "proxy.local", "10.0.0.1/8", ""])
async def test_a_proxy_that_is_no_address_is_a_config_error(proxy: str) -> None:
    with pytest.raises(ConfigError):
        await serve(small_app([]), port=0, trusted_proxies=(proxy,))
