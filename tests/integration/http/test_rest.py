"""The tools by plain HTTP: the same tools, data, limits and refusals as over MCP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    import httpx2

    from tests.world import Caller

TOOLS = "/mcp/tools"


def headers_of(caller: Caller, **more: str) -> dict[str, str]:
    kind = "X-Service-Key" if caller.key.startswith("fbs_") else "X-Client-Key"
    return {kind: caller.key, **more}


async def use(caller: Caller, tool: str, arguments: Any, **more: str) -> httpx2.Response:
    headers = headers_of(caller, **more)
    return await caller.http.post(f"{TOOLS}/{tool}", json=arguments, headers=headers)


async def names(caller: Caller) -> list[str]:
    answer = await caller.http.get(TOOLS, headers=headers_of(caller))
    assert answer.status_code == 200
    return [tool["name"] for tool in answer.json()["tools"]]


async def test_a_call_has_the_same_data_by_either_way(user1: Caller) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("query_table", {"table": "notes", "order": "id", "limit": 3, "count": "exact"}),
        ("count_records", {"table": "notes"}),
        ("describe_table", {"table": "notes"}),
        ("update_record", {"table": "notes", "data": {"rank": 3}, "filter": {"id": 1}}),
    ]
    for tool, arguments in calls:
        answer = await use(user1, tool, arguments)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert answer.json() == await user1.call(tool, **arguments)


async def test_every_caller_has_the_tools_that_it_has_over_mcp(callers: dict[str, Caller]) -> None:
    for caller in callers.values():
        listed = (await caller.rpc("tools/list"))["result"]["tools"]
        assert await names(caller) == [tool["name"] for tool in listed]
        for tool in ("insert_record", "query_table", "list_tables", "no_such_tool"):
            answer = await use(caller, tool, {"nonsense": 1})
            known = any(tool == entry["name"] for entry in listed)
            assert answer.status_code == (400 if known else 404), (caller.name, tool)
            assert answer.json()["error"]["code"] == ("FLX101" if known else "FLX401")


async def test_an_entry_says_where_the_tool_is_from(user1: Caller) -> None:
    answer = await user1.http.get(TOOLS, headers=headers_of(user1))
    [entry] = [t for t in answer.json()["tools"] if t["name"] == "query_table"]
    assert (entry["server_id"], entry["server_name"]) == ("fluxbase", "fluxbase")
    assert entry["tool"] == "query_table"
    assert entry["inputSchema"]["required"] == ["table"]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({}, 400, "FLX101"),
        ({"table": "no_such"}, 404, "FLX201"),
        ({"table": "notes", "filter": {"nothing": 1}}, 404, "FLX202"),
        ({"table": "notes", "filter": {"rank": {"neat": 1}}}, 400, "FLX102"),
        ([], 400, "FLX101"),
    ],
)
async def test_a_refusal_has_its_status_and_says_why(
    user1: Caller, arguments: Any, status: int, code: str
) -> None:
    answer = await use(user1, "query_table", arguments)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":NaN}'])
async def test_a_body_that_is_no_json_is_refused(user1: Caller, body: bytes) -> None:
    headers = headers_of(user1, **{"Content-Type": "application/json"})
    answer = await user1.http.post(f"{TOOLS}/query_table", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "FLX100")


async def test_size_type_and_method_are_judged_as_at_the_endpoint(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(mcp={"max_message_size": 1024}) as http:
        user1.http = http
        large = await use(user1, "query_table", {"table": "x" * 2000})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "FLX502")
        plain = await http.post(f"{TOOLS}/query_table", content=b"{}", headers=headers_of(user1))
        assert plain.status_code == 415
        assert (await http.get(f"{TOOLS}/query_table")).status_code == 405
        assert (await http.post(TOOLS)).status_code == 405


async def test_calls_are_counted_with_those_over_mcp(
    serving: Callable[..., Any], user2: Caller
) -> None:
    async with serving(mcp={"rate_limit_per_min": 3}) as http:
        user2.http = http
        first = await use(user2, "count_records", {"table": "notes"})
        assert first.headers["ratelimit"].startswith('"default";r=2')
        await user2.rpc("ping")
        assert (await use(user2, "count_records", {"table": "notes"})).status_code == 200
        refused = await use(user2, "count_records", {"table": "notes"})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_stranger_is_401_with_a_challenge(http: httpx2.AsyncClient) -> None:
    for answer in (
        await http.post(f"{TOOLS}/query_table", json={}),
        await http.get("/mcp/openapi.json"),
        await http.get(TOOLS, headers={"X-Client-Key": "wrong"}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_programs_of_this_machine_see_the_list_without_a_key(
    serving: Callable[..., Any],
) -> None:
    async with serving() as http:
        answer = await http.get(TOOLS)
        assert answer.status_code == 200
        assert "query_table" in [tool["name"] for tool in answer.json()["tools"]]
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"):
            assert (await http.get(TOOLS, headers={header: "x"})).status_code == 401
    for remote in ("192.0.2.1", "::ffff:192.0.2.1", "unix", "10.0.0.1"):
        async with serving(remote=remote) as http:
            assert (await http.get(TOOLS)).status_code == 401
    async with serving(mcp={"open_tools_list": False}) as http:
        assert (await http.get(TOOLS)).status_code == 401
    async with serving(mcp={"allowed_tools": ["count_records"]}) as http:
        listed = (await http.get(TOOLS)).json()["tools"]
        assert [tool["name"] for tool in listed] == ["count_records"]


async def test_an_idempotency_key_comes_as_a_header(
    user1: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    arguments = {"table": "notes", "data": {"title": "once only"}}
    key = {"Idempotency-Key": "rest-1"}
    answers = [await use(user1, "insert_record", arguments, **key) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    count = "SELECT count(*) FROM public.notes WHERE title = 'once only'"
    assert await owner.fetchval(count) == 1
    both = await use(user1, "insert_record", {**arguments, "idempotency_key": "x"}, **key)
    assert both.status_code == 400


async def test_a_call_is_recorded_like_any_other(
    user1: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    answer = await use(user1, "insert_record", {"table": "inbox", "data": {"body": "x"}})
    assert answer.status_code == 200
    row = await owner.fetchrow(
        "SELECT action, target, principal FROM platform.audit WHERE request_id = $1",
        answer.headers["x-request-id"],
    )
    assert row is not None
    assert tuple(row) == ("insert_record", "public.inbox", user1.id)


async def test_a_call_that_takes_too_long_is_504(
    serving: Callable[..., Any], user1: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with serving(server={"request_timeout": 0.3, "allowed_hosts": ["test"]}) as http:
        user1.http = http
        async with owner.transaction():
            await owner.execute("LOCK public.notes IN ACCESS EXCLUSIVE MODE")
            answer = await asyncio.wait_for(use(user1, "count_records", {"table": "notes"}), 5)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "FLX503")


async def test_the_document_describes_the_callers_tools(callers: dict[str, Caller]) -> None:
    for name in ("user1", "reader", "service", "jobs"):
        caller = callers[name]
        answer = await caller.http.get("/mcp/openapi.json", headers=headers_of(caller))
        document = answer.json()
        OpenAPIV31SpecValidator(document).validate()
        assert sorted(document["paths"]) == sorted(f"/{tool}" for tool in await names(caller))
        assert document["servers"] == [{"url": TOOLS}]
        for path in document["paths"].values():
            schema = path["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert schema["type"] == "object"
