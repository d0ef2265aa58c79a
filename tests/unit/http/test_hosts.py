"""Only listed hosts and origins get in, and answers say that they are not to be stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fluxbase.errors import ConfigError
from fluxbase.http.hosts import HostGuard

Headers = list[tuple[bytes, bytes]]


async def ask(
    headers: Headers,
    *,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1", "api.example.com", "*.trusted.org"),
    origins: tuple[str, ...] = ("https://app.example.com", "http://localhost:3000"),
    answer: Headers | None = None,
    kind: str = "http",
) -> tuple[int, dict[bytes, list[bytes]], bytes]:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": answer or []})
        await send({"type": "http.response.body", "body": b"inside"})

    async def receive() -> Any:
        raise AssertionError("the guard does not read the body")

    async def send(message: Any) -> None:
        sent.append(message)

    guard = HostGuard(app, allowed_hosts=hosts, allowed_origins=origins)
    await guard({"type": kind, "headers": headers}, receive, send)
    found: dict[bytes, list[bytes]] = {}
    for name, value in sent[0]["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return sent[0]["status"], found, sent[1]["body"]


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1",
        b"127.0.0.1:8000",
        b"localhost:1",
        b"LocalHost",
        b"localhost.",
        b"[::1]",
        b"[::1]:8000",
        b"api.example.com:443",
        b"a.trusted.org",
        b"a.b.trusted.org:80",
    ],
)
async def test_a_listed_host_gets_in_whatever_its_port_or_case(host: bytes) -> None:
    status, _, body = await ask([(b"host", host)])
    assert (status, body) == (200, b"inside")


@pytest.mark.parametrize(
    "host",
    [
        b"evil.com",
        b"trusted.org",
        b"eviltrusted.org",
        b"localhost.evil.com",
        b"evil.com:80@localhost",
        b"localhost, evil.com",
        b"localhost:80:80",
        b"localhost:8a",
        b"127.0.0.1.nip.io",
        b"::1",
        b"[::2]",
        b"[::1",
        b"",
        b"\xff",
        b"localhost/..",
    ],
)
async def test_a_foreign_or_malformed_host_is_refused_and_not_repeated(host: bytes) -> None:
    status, headers, body = await ask([(b"host", host)])
    assert status == 403
    error = json.loads(body)["error"]
    assert error["code"] == "FLX302"
    assert len(host) < 3 or host not in body
    assert headers[b"content-length"] == [str(len(body)).encode()]
    assert headers[b"cache-control"] == [b"no-store"]


async def test_a_request_without_host_is_refused_unless_any_host_will_do() -> None:
    assert (await ask([]))[0] == 403
    assert (await ask([], hosts=("*",)))[0] == 200


async def test_a_second_foreign_host_is_refused() -> None:
    assert (await ask([(b"host", b"localhost"), (b"host", b"evil.com")]))[0] == 403


async def test_a_star_takes_every_well_formed_host() -> None:
    assert (await ask([(b"host", b"anything.example:81")], hosts=("*",)))[0] == 200
    assert (await ask([(b"host", b"a b")], hosts=("*",)))[0] == 403


@pytest.mark.parametrize(
    "origin", [b"https://app.example.com", b"HTTPS://APP.example.com", b"http://localhost:3000"]
)
async def test_a_listed_origin_gets_in(origin: bytes) -> None:
    assert (await ask([(b"host", b"localhost"), (b"origin", origin)]))[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b"*",
        b"https://evil.com",
        b"http://app.example.com",
        b"https://app.example.com:444",
        b"https://app.example.com.evil.com",
        b"https://app.example.com/",
        b"http://localhost:81",
        b"ftp://localhost",
        b"localhost",
        b"https://app.example.com https://evil.com",
    ],
)
async def test_any_other_origin_is_refused(origin: bytes) -> None:
    status, _, body = await ask([(b"host", b"localhost"), (b"origin", origin)])
    assert status == 403
    assert len(origin) < 5 or origin not in body


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"localhost", b"http://localhost"),
        (b"LOCALHOST:8080", b"https://localhost:8080"),
        (b"[::1]:1", b"http://[::1]:1"),
    ],
)
async def test_a_page_that_this_server_served_gets_in(host: bytes, origin: bytes) -> None:
    assert (await ask([(b"host", host), (b"origin", origin)]))[0] == 200
    assert (await ask([(b"origin", origin), (b"host", host)]))[0] == 200


async def test_a_page_of_a_foreign_name_that_leads_here_stays_outside() -> None:
    assert (await ask([(b"host", b"evil.com"), (b"origin", b"http://evil.com")]))[0] == 403


async def test_two_origins_must_both_be_listed() -> None:
    good, bad = (b"origin", b"https://app.example.com"), (b"origin", b"https://evil.com")
    assert (await ask([(b"host", b"localhost"), good, bad]))[0] == 403


async def test_answers_are_marked_as_not_to_be_stored_or_sniffed() -> None:
    _, headers, _ = await ask([(b"host", b"localhost")])
    assert headers[b"cache-control"] == [b"no-store"]
    assert headers[b"x-content-type-options"] == [b"nosniff"]


async def test_headers_the_app_set_are_kept() -> None:
    answer = [(b"Cache-Control", b"max-age=60"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    _, headers, _ = await ask([(b"host", b"localhost")], answer=answer)
    assert headers[b"cache-control"] == [b"max-age=60"]
    assert headers[b"set-cookie"] == [b"a", b"b"]
    assert headers[b"x-content-type-options"] == [b"nosniff"]


async def test_the_lifespan_passes_untouched() -> None:
    assert (await ask([], kind="lifespan"))[0] == 200


@pytest.mark.parametrize("host", ["http://a", "a/b", "a:80", "", "*.*.a", "a*", "a b"])
def test_a_pattern_that_is_no_host_is_a_config_error(host: str) -> None:
    with pytest.raises(ConfigError):
        HostGuard(None, allowed_hosts=(host,))  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", ["null", "*", "a.com", "https://a.com/", "https://*.a.com", ""])
def test_an_origin_that_is_not_exact_is_a_config_error(origin: str) -> None:
    with pytest.raises(ConfigError):
        HostGuard(None, allowed_hosts=("*",), allowed_origins=(origin,))  # type: ignore[arg-type]
