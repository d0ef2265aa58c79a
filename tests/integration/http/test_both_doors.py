"""On a connection of our own the endpoint answers by a shorter way; nobody can tell them apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.http.server import bind, serve
from tests.world import TABLES, USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from fluxbase.app.backend import Backend
    from fluxbase.app.server import Server

BOUND = 10.0
# What differs from answer to answer by either way.
_OWN = ("date", "x-request-id", "ratelimit")
CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    b'"params":{"name":"query_table","arguments":{"table":"notes","order":"id"}}}'
)
NOTIFICATION = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
BATCH = b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def port(server: Server) -> AsyncGenerator[int]:
    """The port of a listener in front of the server that other tests reach without any."""
    ready = asyncio.Event()
    listener = bind("127.0.0.1", 0)
    number: int = listener.getsockname()[1]
    task = asyncio.ensure_future(
        serve(server, sockets=[listener], on_ready=ready.set, drain_timeout=5)
    )
    async with asyncio.timeout(BOUND):
        await ready.wait()
    yield number
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
async def wire(port: int) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of that port, which asks for the host that the server answers to."""
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"Host": "test"}, timeout=BOUND
    ) as client:
        yield client


def seen(answer: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN}
    return answer.status_code, headers, answer.content


async def in_parts(content: bytes) -> AsyncIterator[bytes]:
    yield content[:20]
    yield content[20:]


async def both(
    user: Caller,
    wire: httpx2.AsyncClient,
    method: str,
    headers: dict[str, str],
    content: bytes,
    *,
    chunked: bool = False,
) -> tuple[httpx2.Response, httpx2.Response]:
    sent = {"X-Client-Key": user.key, **headers}
    if sent["X-Client-Key"] == "":
        del sent["X-Client-Key"]
    answers: list[httpx2.Response] = []
    for client in (wire, user.http):
        body = in_parts(content) if chunked else content
        answers.append(await client.request(method, "/mcp", headers=sent, content=body))
    return answers[0], answers[1]


REQUESTS: list[tuple[int, str, dict[str, str], bytes]] = [
    (200, "POST", JSON, CALL),
    (200, "POST", {"Content-Type": "Application/JSON; charset=utf-8"}, CALL),
    (200, "POST", JSON, BATCH),
    (202, "POST", JSON, NOTIFICATION),
    (200, "POST", JSON, CALL.replace(b"query_table", b"no_such_tool")),
    (200, "POST", JSON, CALL.replace(b"notes", b"no_such_table")),
    (400, "POST", JSON, b"{"),
    (400, "POST", JSON, b""),
    (400, "POST", {**JSON, "MCP-Protocol-Version": "2026-07-28"}, CALL),
    (400, "POST", {**JSON, "MCP-Protocol-Version": "1999-01-01"}, CALL),
    (404, "POST", {**JSON, "Mcp-Session-Id": "made-up"}, CALL),
    (401, "POST", {**JSON, "X-Client-Key": ""}, CALL),
    (401, "POST", {**JSON, "X-Client-Key": "fbk_aaaaaaaa_nonsense"}, CALL),
    (401, "POST", {**JSON, "Authorization": "Bearer x"}, CALL),
    (403, "POST", {**JSON, "Host": "evil.example"}, CALL),
    (403, "POST", {**JSON, "Origin": "https://evil.example"}, CALL),
    (415, "POST", {"Content-Type": "text/plain"}, CALL),
    (415, "POST", {}, CALL),
    (415, "POST", {**JSON, "Content-Encoding": "gzip"}, CALL),
    (405, "GET", {}, b""),
    (405, "DELETE", {}, b""),
    (405, "OPTIONS", {}, b""),
    (405, "PUT", JSON, CALL),
    (405, "HEAD", {}, b""),
]


@pytest.mark.parametrize(("status", "method", "headers", "content"), REQUESTS)
async def test_both_ways_give_the_same_answer(
    user1: Caller,
    wire: httpx2.AsyncClient,
    status: int,
    method: str,
    headers: dict[str, str],
    content: bytes,
) -> None:
    ours, plain = await both(user1, wire, method, headers, content)
    assert ours.status_code == status
    if method == "HEAD":  # a transport without a wire does not take the body away
        assert ours.content == b""
        assert seen(ours)[:2] == seen(plain)[:2]
        return
    assert seen(ours) == seen(plain)
    assert ours.headers["cache-control"] == "no-store"
    assert ours.headers["x-content-type-options"] == "nosniff"


async def test_both_ways_take_a_body_of_unknown_length(
    user1: Caller, wire: httpx2.AsyncClient
) -> None:
    ours, plain = await both(user1, wire, "POST", JSON, CALL, chunked=True)
    assert ours.status_code == 200
    assert seen(ours) == seen(plain)


async def test_both_ways_count_the_same_calls(user1: Caller, wire: httpx2.AsyncClient) -> None:
    def left(answer: httpx2.Response) -> int:
        return int(answer.headers["ratelimit"].split("r=")[1].split(";")[0])

    # Calls of a minute ago leave the window meanwhile, now and then between the two.
    pairs = [await both(user1, wire, "POST", JSON, CALL) for _ in range(5)]
    assert any(left(plain) == left(ours) - 1 for ours, plain in pairs)


class Line:
    """A raw connection with bounded waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        async with asyncio.timeout(BOUND):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[bytes, bytes]:
        head = await self.head()
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        async with asyncio.timeout(BOUND):
            return head, await self.reader.readexactly(size)


@pytest.fixture
async def line(port: int) -> AsyncGenerator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Line(reader, writer)
    writer.close()


def post(user: Caller, body: bytes, *more: str, version: str = "1.1") -> bytes:
    head = [
        f"POST /mcp HTTP/{version}",
        "Host: test",
        "Content-Type: application/json",
        f"X-Client-Key: {user.key}",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def ping(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % number


async def test_requests_sent_at_once_are_answered_in_their_order(user1: Caller, line: Line) -> None:
    line.writer.write(b"".join(post(user1, ping(n)) for n in range(5)))
    for number in range(5):
        assert b'"id":%d,' % number in (await line.answer())[1]


async def test_a_connection_is_each_time_who_its_request_says(
    callers: dict[str, Caller], line: Line
) -> None:
    one, two = callers["user1"], callers["user2"]
    body = CALL.replace(b'"order":"id"', b'"select":"user_id"')
    longer = body + b" "

    async def ask(sent: bytes) -> tuple[bytes, bytes]:
        line.writer.write(sent)
        return await line.answer()

    for caller, user, other in ((one, USER1, USER2), (two, USER2, USER1), (one, USER1, USER2)):
        for words in (body, longer, longer):
            _, answer = await ask(post(caller, words))
            assert user.encode() in answer
            assert other.encode() not in answer
    stranger = post(one, body).replace(one.key.encode(), one.key[:-1].encode() + b"?")
    nobody = post(one, body).replace(b"X-Client-Key", b"X-Other-Key")
    foreign = post(one, body).replace(b"Host: test", b"Host: evil.example")
    plain = post(one, body).replace(b"application/json", b"text/plain")
    for sent, status in ((stranger, 401), (nobody, 401), (foreign, 403), (plain, 415)):
        for _ in range(2):
            head, answer = await ask(sent)
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert USER1.encode() not in answer
        head, answer = await ask(post(one, body))
        assert USER1.encode() in answer


async def test_a_client_that_waits_is_told_to_go_on(user1: Caller, line: Line) -> None:
    whole = post(user1, ping(1), "Expect: 100-continue")
    head, body = whole.split(b"\r\n\r\n")
    line.writer.write(head + b"\r\n\r\n")
    assert (await line.head()).startswith(b"HTTP/1.1 100 ")
    line.writer.write(body)
    assert (await line.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_too_many_bytes_are_refused_as_soon_as_they_are_announced(
    user1: Caller, line: Line
) -> None:
    head = post(user1, b"").replace(b"Content-Length: 0", b"Content-Length: 100000000")
    line.writer.write(head)
    assert (await line.answer())[0].startswith(b"HTTP/1.1 413 ")


async def test_too_many_bytes_are_refused_when_nothing_is_announced(
    user1: Caller, line: Line
) -> None:
    head = post(user1, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    line.writer.write(head)
    part = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    answer = asyncio.ensure_future(line.answer())
    for _ in range(10_000):
        if answer.done():
            break
        line.writer.write(part)
        await asyncio.sleep(0)
    assert (await answer)[0].startswith(b"HTTP/1.1 413 ")


async def test_a_body_may_come_in_parts(user1: Caller, line: Line) -> None:
    for byte in post(user1, ping(1)):
        line.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert b'"id":1' in (await line.answer())[1]


@pytest.mark.parametrize(
    ("version", "more"), [("1.0", ()), ("1.1", ("Connection: close",))], ids=["1.0", "close"]
)
async def test_a_connection_that_is_not_kept_is_said_to_close_and_does(
    user1: Caller, line: Line, version: str, more: tuple[str, ...]
) -> None:
    line.writer.write(post(user1, ping(1), *more, version=version))
    head, _ = await line.answer()
    assert b"\r\nconnection: close\r\n" in head.lower()
    async with asyncio.timeout(BOUND):
        assert await line.reader.read() == b""


async def until(owner: Any, number: int) -> None:
    """Wait until so many reads of the table wait for its lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'notes'::regclass"
    async with asyncio.timeout(BOUND):
        while await owner.fetchval(waiting) != number:  # noqa: ASYNC110 - Postgres tells no event
            await asyncio.sleep(0.02)


@pytest.fixture
async def patient(backend: Backend, owner: Any, http: httpx2.AsyncClient) -> Caller:
    """A caller whose reads wait for a lock longer than any test does."""
    issued = await backend.keys.create("client_key", NewKey("patient", TABLES, user_id=USER1))
    await owner.execute(f"ALTER ROLE key_{issued.id} SET lock_timeout = '1h'")
    return Caller("patient", issued.id, issued.key, http)


async def test_a_client_that_leaves_ends_its_query(patient: Caller, line: Line, owner: Any) -> None:
    await patient.rows("notes")  # what is cached is not waited for
    async with owner.transaction():
        await owner.execute("LOCK TABLE public.notes")
        line.writer.write(post(patient, CALL))
        await until(owner, 1)
        line.writer.transport.abort()
        await until(owner, 0)


async def test_a_request_in_flight_is_answered_while_the_server_drains(
    patient: Caller, server: Server, owner: Any
) -> None:
    await patient.rows("notes")  # what is cached is not waited for
    ready = asyncio.Event()
    listener = bind("127.0.0.1", 0)
    serving = asyncio.ensure_future(
        serve(server, sockets=[listener], on_ready=ready.set, drain_timeout=BOUND)
    )
    async with asyncio.timeout(BOUND):
        await ready.wait()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        line = Line(reader, writer)
        async with owner.transaction():
            await owner.execute("LOCK TABLE public.notes")
            writer.write(post(patient, CALL))
            await until(owner, 1)
            serving.cancel()
            await asyncio.sleep(0.1)
        head, body = await line.answer()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in head.lower()
        assert b'"structuredContent"' in body
        with pytest.raises(asyncio.CancelledError):
            await serving
    writer.close()
