"""Batches exist in 2025-03-26, and where no version is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.mcp import dispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import Caller


def ping(id_: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": "ping"}


def pong(id_: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": {}}


NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.mark.parametrize("sent", [{}, {"MCP_Protocol_Version": "2025-03-26"}])
async def test_a_batch_is_answered_in_its_order(user1: Caller, sent: dict[str, str]) -> None:
    answer = await user1.post([ping("a"), NOTE, ping(2), pong(3)], **sent)
    assert answer.status_code == 200
    assert answer.json() == [pong("a"), pong(2)]


async def test_a_batch_to_which_nothing_is_said_is_accepted(user1: Caller) -> None:
    answer = await user1.post([NOTE, pong(), NOTE])
    assert (answer.status_code, answer.content) == (202, b"")


async def test_a_bad_message_does_not_spoil_its_neighbours(user1: Caller) -> None:
    answer = await user1.post([ping(1), 5, {"jsonrpc": "2.0", "id": 2}, [ping()], ping(3)])
    got = answer.json()
    assert [item["id"] for item in got] == [1, None, 2, None, 3]
    assert [item.get("error", {}).get("code") for item in got] == [
        None,
        -32600,
        -32600,
        -32600,
        None,
    ]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"])
async def test_other_versions_refuse_batches(user1: Caller, version: str) -> None:
    answer = await user1.post([ping()], MCP_Protocol_Version=version)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize(
    "body",
    [
        [],
        [ping(n) for n in range(51)],
        [ping(), {**ping(2), "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}],
    ],
    ids=["empty", "too many", "initialize"],
)
async def test_an_impossible_batch_is_refused_whole(user1: Caller, body: list[Any]) -> None:
    answer = await user1.post(body)
    assert answer.status_code == 400
    assert answer.json()["id"] is None
    assert answer.json()["error"]["code"] == -32600


async def test_the_largest_batch_is_answered(user1: Caller) -> None:
    answer = await user1.post([ping(n) for n in range(50)])
    assert len(answer.json()) == 50


async def test_every_message_is_charged_before_any_runs(
    serving: Callable[..., Any], user1: Caller
) -> None:
    write = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "insert_record",
            "arguments": {"table": "notes", "data": {"title": "from a batch"}},
        },
    }
    async with serving(mcp={"rate_limit_per_min": 5}) as http:
        there, user1.http = user1.http, http
        good = await user1.post([ping(n) for n in range(3)])
        assert good.headers["ratelimit"].startswith('"default";r=2;')
        refused = await user1.post([write, ping(2), ping(3)])
        user1.http = there
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == -32007
    assert len(refused.headers.get_list("ratelimit")) == 1
    assert await user1.rows("notes", filter={"title": "eq.from a batch"}) == []


async def test_a_batch_stops_running_when_its_answers_are_too_large(
    user1: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_MOST_BATCH_BYTES", 60)
    answer = await user1.post([ping(n) for n in range(4)] + [NOTE])
    codes = [item.get("error", {}).get("data", {}).get("code") for item in answer.json()]
    assert codes == [None, None, "FLX502", "FLX502"]
