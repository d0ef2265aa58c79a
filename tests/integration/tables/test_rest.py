"""An answer that was cut off links to its rest, and the rest is all that was missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.world import Caller

CUT: dict[str, Any] = {"table": "notes", "select": "id,title,body", "order": "id", "max_bytes": 256}


async def asked(caller: Caller, version: str = "2025-11-25", **arguments: Any) -> dict[str, Any]:
    body = {"name": "query_table", "arguments": {**CUT, **arguments}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body}
    answer = (await caller.post(message, mcp_protocol_version=version)).json()["result"]
    assert answer["isError"] is False
    return answer


async def read(caller: Caller, uri: str) -> dict[str, Any]:
    answer = await caller.rpc("resources/read", uri=uri)
    return json.loads(answer["result"]["contents"][0]["text"])


async def whole(caller: Caller, first: dict[str, Any]) -> list[int]:
    page, uri = first["structuredContent"], first["content"][1]["uri"]
    ids = [row["id"] for row in page["rows"]]
    while uri is not None:
        assert uri.startswith("fluxbase://rows/")
        page = await read(caller, uri)
        ids += [row["id"] for row in page["rows"]]
        uri = page.get("next")
    return ids


@pytest.mark.parametrize("more", [{}, {"after": ""}, {"offset": 1, "limit": 8}], ids=str)
async def test_the_rest_holds_every_row_that_was_left_out_once(
    user1: Caller, more: dict[str, Any]
) -> None:
    first = await asked(user1, **more)
    assert first["content"][1]["type"] == "resource_link"
    start, limit = more.get("offset", 0), more.get("limit", 100)
    assert await whole(user1, first) == list(range(1, 11))[start : start + limit]


async def test_what_was_cut_off_by_the_limit_of_the_call_has_no_link(user1: Caller) -> None:
    answer = await asked(user1, limit=2, max_bytes=100_000)
    assert answer["structuredContent"]["truncated"] is True
    assert len(answer["content"]) == 1


async def test_versions_without_links_are_told_in_words(user1: Caller) -> None:
    answer = await asked(user1, version="2025-03-26")
    assert [part["type"] for part in answer["content"]] == ["text", "text"]
    assert "fluxbase://rows/" in answer["content"][1]["text"]


async def test_another_caller_reads_its_own_rows_by_the_same_link(
    user1: Caller, user2: Caller
) -> None:
    uri = (await asked(user1))["content"][1]["uri"]
    rows = (await read(user2, uri))["rows"]
    assert all(row["title"].startswith("user2") for row in rows)


@pytest.mark.parametrize("query", ["x", "e30", "W10", "!!", "eyJ0YWJsZSI6Im5vcGUifQ", "A" * 9000])
async def test_a_made_up_link_is_refused(user1: Caller, query: str) -> None:
    answer = await user1.post(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "resources/read",
            "params": {"uri": f"fluxbase://rows/{query}"},
        }
    )
    assert answer.json()["error"]["data"]["code"] in ("FLX101", "FLX201", "FLX402")


async def test_who_may_not_query_may_not_read_on_either(user1: Caller, serving: Any) -> None:
    uri = (await asked(user1))["content"][1]["uri"]
    async with serving(mcp={"allowed_tools": ["list_tables"]}) as http:
        other = type(user1)(user1.name, user1.id, user1.key, http)
        answer = await other.rpc("resources/read", uri=uri)
        assert answer["error"]["data"]["code"] == "FLX402"


async def test_who_may_not_read_the_rest_is_given_no_link_to_it(
    user1: Caller, serving: Any
) -> None:
    async with serving(mcp={"allowed_resources": ["fluxbase://schema/*"]}) as http:
        other = type(user1)(user1.name, user1.id, user1.key, http)
        answer = await asked(other)
        assert answer["structuredContent"]["truncated"] is True
        assert len(answer["content"]) == 1
