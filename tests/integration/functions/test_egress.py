"""A function fetches from the hosts that an administrator lists, and from nowhere else."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.egress.fetch import Egress, Unreachable
from fluxbase.egress.request import Outbound
from fluxbase.functions.broker import Broker
from fluxbase.functions.service import Functions
from tests.https_server import Web
from tests.integration.functions.conftest import deploy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from fluxbase.functions.registry import Function
    from fluxbase.toolkit import Context
    from tests.world import Caller

FETCH = """
export default async (req: Request) => {
  const { url, ...init } = await req.json();
  try {
    const answer = await fetch(url, init);
    return Response.json({ status: answer.status, text: await answer.text(),
      location: answer.headers.get("location") });
  } catch (e) { return Response.json({ code: e.code, message: e.message }); }
};
"""


@pytest.fixture
async def web(tmp_path: Path) -> AsyncGenerator[Web]:
    async with Web(tmp_path).running() as running:
        running.documents["/data"] = "grüße".encode()
        running.documents["/large"] = b"x" * 200_000
        yield running


async def asked(
    backend: Backend, web: Web, admin: Caller, one: Caller, *, inside: bool = True, **body: Any
) -> dict[str, Any]:
    """Return what a function is told that fetches, on a server with a way out of its own."""
    networks = (ip_network("127.0.0.0/8"), ip_network("::1/128")) if inside else ()
    config = backend.functions.config.model_copy(
        update={"egress": ("localhost", "*.example.com"), "max_response": 100_000}
    )
    outbound = Outbound(networks, web.ca, config.max_response)
    functions = Functions(config, backend.database, None, outbound)
    other = replace(backend, postgres=None, functions=functions)
    try:
        async with Server(other).running() as server:
            transport = httpx2.ASGITransport(app=server)
            async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
                await deploy(replace(admin, http=client), "fetch", FETCH)
                caller = replace(one, http=client)
                return (await caller.call("invoke_function", name="fetch", body=body))["body"]
    finally:
        await functions.close()
        await outbound.close()


async def test_a_listed_host_is_fetched_from(
    backend: Backend, web: Web, admin: Caller, one: Caller
) -> None:
    headers = {"X-Mine": "1", "Host": "elsewhere", "Cookie": "a=b"}
    body: dict[str, Any] = {
        "url": f"{web.base}/data",
        "method": "POST",
        "headers": headers,
        "body": "hello",
    }
    answer = await asked(backend, web, admin, one, **body)
    assert answer == {"status": 200, "text": "grüße", "location": None}
    [head] = web.heads
    assert head.startswith("POST /data HTTP/1.1")
    assert "x-mine: 1" in head.lower()
    assert f"host: localhost:{web.port}" in head.lower()
    assert one.key not in head


async def test_a_redirect_is_an_answer_and_not_followed(
    backend: Backend, web: Web, admin: Caller, one: Caller
) -> None:
    answer = await asked(backend, web, admin, one, url=f"{web.base}/moved")
    assert (answer["status"], answer["location"]) == (302, "/oauth/abc/client.json")
    assert web.asked == ["/moved"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://other.example.org/", "FLX302"),
        ("https://127.0.0.1:{port}/data", "FLX302"),
        ("http://localhost:{port}/data", "FLX304"),
        ("https://user:word@localhost:{port}/data", "FLX304"),
        ("https://localhost:{port}/large", "FLX304"),
        ("https://nothing-here.example.com/", "FLX304"),
        ("https://localhost.evil.test:{port}/data", "FLX302"),
        ("https://example.com/", "FLX302"),
    ],
)
async def test_everything_else_is_refused(
    backend: Backend, web: Web, admin: Caller, one: Caller, url: str, code: str
) -> None:
    answer = await asked(backend, web, admin, one, url=url.format(port=web.port))
    assert answer["code"] == code
    assert "/data" not in web.asked


async def test_a_listed_name_that_leads_inside_is_refused(
    backend: Backend, web: Web, admin: Caller, one: Caller
) -> None:
    answer = await asked(backend, web, admin, one, inside=False, url=f"{web.base}/data")
    assert answer["code"] == "FLX304"
    assert web.asked == []


@pytest.mark.parametrize(
    "name", ["Transfer-Encoding ", "Host\t", "x: 1", "", "X\r\nHost", "transfer-encoding:", "é"]
)
async def test_no_header_of_a_fetch_begins_a_request_of_its_own(web: Web, name: str) -> None:
    ctx = cast("Context", None)  # a fetch asks nothing of it
    outbound = Outbound((ip_network("127.0.0.0/8"), ip_network("::1/128")), web.ca, 1000)
    broker = Broker(ctx, cast("Function", SimpleNamespace(runs_as="caller")), outbound, ("*",), 9)
    asked = {"t": "fetch", "n": 1, "url": f"{web.base}/data", "method": "GET"}
    try:
        good = await broker.answer({**asked, "headers": [["x-mine", "1"]]})
        assert good["ok"]["status"] == 200
        bad = await broker.answer({**asked, "headers": [[name, "chunked"]]})
    finally:
        await outbound.close()
    assert bad["error"]["code"] == "FLX101"
    assert len(web.heads) == 1


@pytest.mark.parametrize(("error", "code"), [(RuntimeError, "FLX901"), (TimeoutError, "FLX503")])
async def test_a_function_is_told_of_every_failure_and_not_left_waiting(
    error: type[Exception], code: str
) -> None:
    class Failing:
        async def request(
            self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
        ) -> tuple[int, list[tuple[str, str]], bytes]:
            del method, url, headers, body
            raise error

    function = cast("Function", SimpleNamespace(runs_as="caller"))
    broker = Broker(cast("Context", None), function, Failing(), ("*",), 9)
    asked: dict[str, Any] = {
        "t": "fetch",
        "n": 7,
        "url": "https://a.test/",
        "method": "GET",
        "headers": [],
    }
    reply = await broker.answer(asked)
    assert (reply["n"], reply["error"]["code"]) == (7, code)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17\u30020\u30020\u30021",
        "\u246027\uff610\uff610\uff611",
        "[::1]",
        "127.1",
        "0x7f.1",
    ],
)
async def test_no_spelling_of_an_inner_address_is_connected_to(web: Web, host: str) -> None:
    outbound = Outbound((), web.ca, 1000)
    try:
        with pytest.raises(Unreachable):
            await outbound.request("GET", f"https://{host}:{web.port}/data", [], b"")
        with pytest.raises(Unreachable):
            await Egress((), web.ca).fetch(f"https://{host}:{web.port}/data")
    finally:
        await outbound.close()
    assert web.asked == []
