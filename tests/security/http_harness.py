"""A door to attack over real sockets, ours or uvicorn's own, and a wire to attack it by."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluxbase.http.protocol import ProtocolLimits
from fluxbase.http.server import bind

if TYPE_CHECKING:
    from collections.abc import Generator

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LIMITS = ProtocolLimits(
    header_timeout=0.4,
    body_grace=0.4,
    min_body_rate=200,
    write_timeout=0.4,
    max_connections_per_ip=8,
)
KEEP_ALIVE = 1
PATIENCE = 1.5  # how long an attack goes on before it counts as let through
BOUND = 10.0
HEAD = b"Host: localhost\r\n"
MARK = b"s3cr3t-canary"
LENGTH = b"Content-Length: 3"
CHUNKED = b"Transfer-Encoding: chunked"


@dataclass
class Door:
    """A running server: its port, its uvicorn state and what its app saw."""

    port: int
    server: uvicorn.Server
    seen: list[str] = field(default_factory=list[str])

    def server_state_size(self) -> int:
        return len(self.server.server_state.connections)

    def connect(self) -> Wire:
        return Wire(socket.create_connection(("127.0.0.1", self.port), timeout=BOUND))

    def ask(self, data: bytes) -> Answer:
        with self.connect() as wire:
            wire.send(data)
            return wire.answer()


@dataclass
class Answer:
    """One response; status 0 means the connection closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


GONE = Answer(0, {}, b"")


class Wire:
    """A raw client connection with bounded waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        self.dripped = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        # A refusal may come, and the reset after it, while we are still sending.
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def poll(self, seconds: float) -> bool:
        """Read for at most this long; tell whether anything came, the end included."""
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        self.rest += data
        return True

    def read(self) -> bytes:
        self.sock.settimeout(BOUND)
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return b""
        self.rest += data
        return data

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self.rest:
            if not self.read():
                return GONE
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin1").split("\r\n")
        headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)
        }
        size = int(headers.get("content-length", "0"))
        while len(self.rest) < size and self.read():
            pass
        body, self.rest = self.rest[:size], self.rest[size:]
        return Answer(int(status.split()[1]), headers, body)

    def ended(self) -> bool:
        """Tell whether the server closed, having sent nothing more."""
        return not self.rest and not self.read()

    def drip(self, data: bytes, *, pace: float = 0.02) -> bool:
        """Send the byte string over and over, slowly; tell whether the server reacted."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.send(data)
            self.dripped += len(data)
            if self.poll(pace):
                return True
        return False


def tiny_app(seen: list[str]) -> Starlette:
    async def echo(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            seen.append("disconnect")
            raise
        seen.append(request.url.path)
        headers = [[k.decode("latin1"), v.decode("latin1")] for k, v in request.headers.raw]
        return JSONResponse({"path": request.url.path, "headers": headers, "size": len(body)})

    async def early(request: Request) -> Response:
        return Response(status_code=401)

    async def big(request: Request) -> Response:
        return Response(b"x" * 30_000_000)

    async def late(request: Request) -> Response:
        await asyncio.sleep(3 * LIMITS.body_grace)
        return JSONResponse({"size": len(await request.body())})

    methods = ["GET", "POST"]
    return Starlette(
        routes=[
            Route("/early", early, methods=methods),
            Route("/big", big, methods=methods),
            Route("/late", late, methods=methods),
            Route("/{path:path}", echo, methods=methods),
        ]
    )


@contextlib.contextmanager
def serving(protocol: type[HttpToolsProtocol]) -> Generator[Door]:
    seen: list[str] = []
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        tiny_app(seen),
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    port: int = listener.getsockname()[1]
    thread.start()
    try:
        eventually(lambda: server.started)
        yield Door(port, server, seen)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(BOUND)
        assert not thread.is_alive()


def eventually(condition: Any) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def assert_refused(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["code"] == "FLX100"
    assert error["message"]
    assert MARK not in answer.body


def get(path: bytes = b"/", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/") -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", HEAD[:-2], *lines, b"", body])
