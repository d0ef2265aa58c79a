"""What the door says to whom: every refusal has its status, its headers and a JSON body."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.errors import Unavailable
from fluxbase.limits.rate import RateLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

    from fluxbase.app.backend import Backend
    from tests.world import Caller

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
LIST = b'{"jsonrpc":"2.0","method":"tools/list","id":1}'


def code_of(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    return error["data"]["code"] if "data" in error else error["code"]


async def test_every_answer_has_a_request_id_of_its_own(user1: Caller) -> None:
    answers = [
        await user1.post(PING),
        await user1.post({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        await user1.post(b"{"),
        await user1.http.post("/mcp"),
        await user1.http.get("/mcp"),
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(len(id_) == 16 for id_ in ids)


async def test_an_answer_is_neither_stored_nor_sniffed(user1: Caller) -> None:
    answer = await user1.post(PING)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Client-Key": "nonsense"},
        {"X-Client-Key": "fbk_aaaaaaaa_" + "a" * 32},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_a_stranger_is_401_with_a_challenge(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.post("/mcp", json=PING, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fluxbase"'
    assert answer.json()["error"]["code"] == -32005
    assert code_of(answer) == "FLX301"


async def test_a_key_in_the_query_is_no_key(user1: Caller) -> None:
    answer = await user1.http.post(f"/mcp?apikey={user1.key}&key={user1.key}", json=PING)
    assert answer.status_code == 401


async def test_a_bearer_may_be_a_key_too(user1: Caller, service: Caller) -> None:
    for caller in (user1, service):
        headers = {"Authorization": f"Bearer {caller.key}"}
        assert (await caller.http.post("/mcp", json=PING, headers=headers)).status_code == 200


async def test_a_key_of_one_kind_is_not_taken_in_the_header_of_the_other(
    user1: Caller, service: Caller
) -> None:
    for caller, header in ((user1, "X-Service-Key"), (service, "X-Client-Key")):
        answer = await caller.http.post("/mcp", json=PING, headers={header: caller.key})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
async def test_a_foreign_host_or_origin_is_403(user1: Caller, headers: dict[str, str]) -> None:
    user1.headers = headers
    answer = await user1.post(PING)
    assert (answer.status_code, code_of(answer)) == (403, "FLX302")


async def test_an_unknown_path_is_404(user1: Caller) -> None:
    for path in ("/", "/mcp/nothing", "/mcpx", "/health"):
        answer = await user1.http.get(path)
        assert (answer.status_code, code_of(answer)) == (404, "FLX402")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_without_a_session_the_endpoint_answers_post_only(user1: Caller, method: str) -> None:
    answer = await user1.http.request(method, "/mcp", headers={"X-Client-Key": user1.key})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, DELETE")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/mcp/health"])
async def test_the_other_paths_answer_get_only(http: httpx2.AsyncClient, path: str) -> None:
    for method in ("POST", "DELETE", "OPTIONS"):
        answer = await http.request(method, path)
        assert answer.status_code == 405
        assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]
        assert code_of(answer) == "FLX402"
    assert (await http.head(path)).status_code == 200


async def test_too_many_bytes_are_413_as_soon_as_they_are_announced(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(mcp={"max_message_size": 1024}) as http:
        user1.http = http
        fits = await user1.post(LIST + b" " * (1024 - len(LIST)))
        answer = await user1.post(LIST + b" " * (1025 - len(LIST)))
    assert fits.status_code == 200
    assert (answer.status_code, code_of(answer)) == (413, "FLX502")


async def test_too_many_bytes_are_413_when_nothing_is_announced(
    serving: Callable[..., Any], user1: Caller
) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b" " * 512

    async with serving(mcp={"max_message_size": 1024}) as http:
        answer = await http.post(
            "/mcp",
            content=endless(),
            headers={"X-Client-Key": user1.key, "Content-Type": "application/json"},
        )
    assert (answer.status_code, code_of(answer)) == (413, "FLX502")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonp"},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_what_is_not_plain_json_is_415(user1: Caller, headers: dict[str, str]) -> None:
    user1.headers = headers
    answer = await user1.post(PING)
    assert (answer.status_code, code_of(answer)) == (415, "FLX100")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_be_spelled_otherwise(user1: Caller, kind: str) -> None:
    user1.headers = {"Content-Type": kind}
    assert (await user1.post(PING)).status_code == 200


async def test_calls_are_counted_down_and_then_429(
    serving: Callable[..., Any], user1: Caller, user2: Caller
) -> None:
    async with serving(mcp={"rate_limit_per_min": 2}) as http:
        user1.http = user2.http = http
        left: list[str] = []
        for _ in range(2):
            answer = await user1.post(PING)
            assert answer.headers["ratelimit-policy"] == '"default";q=2;w=60'
            left.append(answer.headers["ratelimit"].partition(";t=")[0])
        refused = await user1.post(PING)
        assert (await user2.post(PING)).status_code == 200
    assert left == ['"default";r=1', '"default";r=0']
    assert (refused.status_code, code_of(refused)) == (429, "FLX501")
    assert refused.json()["error"]["code"] == -32007
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')


async def test_refused_credentials_are_429_by_address_and_valid_keys_still_pass(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(auth={"failed_per_min": 2}) as http:
        user1.http = http
        statuses = [(await http.post("/mcp", json=PING)).status_code for _ in range(3)]
        passed = await user1.post(PING)
    assert statuses == [401, 401, 429]
    assert passed.status_code == 200


async def test_without_the_database_a_call_is_503_and_says_when_to_come_back(
    backend: Backend, user1: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object, **__: object) -> None:
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(backend.database, "read", down)
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "query_table", "arguments": {"table": "notes"}},
    }
    answer = await user1.post(body)
    assert (answer.status_code, code_of(answer)) == (503, "FLX504")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["id"] == 1


async def test_a_fault_of_ours_is_500_without_its_text(
    user1: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("the secret of the server")

    monkeypatch.setattr(RateLimiter, "count", broken)
    with caplog.at_level(logging.ERROR):
        answer = await user1.post(PING)
    assert (answer.status_code, code_of(answer)) == (500, "FLX901")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text


async def test_the_whole_surface_moves_with_the_base_path(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(mcp={"base_path": "/api/v1/mcp"}) as http:
        user1.http, user1.path = http, "/api/v1/mcp"
        assert (await user1.post(PING)).status_code == 200
        assert (await http.get("/api/v1/mcp/health")).status_code == 200
        user1.path = "/mcp"
        assert (await user1.post(PING)).status_code == 404
        assert (await http.get("/mcp/health")).status_code == 404


async def test_an_endpoint_that_is_not_enabled_does_not_exist(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(mcp={"enabled": False}) as http:
        user1.http = http
        assert (await user1.post(PING)).status_code == 404
        assert (await http.get("/mcp/health")).status_code == 404
        assert (await http.get("/livez")).status_code == 200


async def test_the_bare_lines_of_curl_work(user1: Caller, service: Caller) -> None:
    for caller in (user1, service):
        caller.headers = {"Accept": "*/*"}
        answer = await caller.post(LIST)
        assert answer.status_code == 200
        assert "query_table" in {tool["name"] for tool in answer.json()["result"]["tools"]}
