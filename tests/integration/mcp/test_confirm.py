"""A person is asked before a destructive call, where the key wants it and the client can ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.errors import InvalidArgument
from tests.integration.mcp.live import Client
from tests.integration.mcp.test_rounds import Modern
from tests.world import TABLES, USER1

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

DELETE: dict[str, Any] = {
    "name": "delete_record",
    "arguments": {"table": "notes", "filter": {"id": 1}},
}
CAN: dict[str, Any] = {"elicitation": {}}


@pytest.fixture
async def careful(backend: Backend, rows: None) -> str:
    """The text of a key whose destructive calls are confirmed."""
    new = NewKey("careful", TABLES, user_id=USER1, confirm="destructive")
    return (await backend.keys.create("client_key", new)).key


async def is_there(owner: asyncpg.Connection[asyncpg.Record]) -> bool:
    return await owner.fetchval("SELECT EXISTS (SELECT FROM public.notes WHERE id = 1)")


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        ({"action": "accept", "content": {"confirm": True}}, True),
        ({"action": "accept", "content": {"confirm": False}}, False),
        ({"action": "accept", "content": {"confirm": "true"}}, False),
        ({"action": "accept"}, False),
        ({"action": "decline"}, False),
        ({"action": "cancel"}, False),
        ({}, False),
    ],
)
async def test_only_a_clear_yes_lets_the_call_go_on(
    live: httpx2.AsyncClient,
    careful: str,
    owner: asyncpg.Connection[asyncpg.Record],
    answer: dict[str, Any],
    goes_on: bool,
) -> None:
    client = Client(live, careful)
    await client.initialize(**CAN)
    async with client.stream("tools/call", 1, **DELETE) as stream:
        asked = await stream.message()
        assert asked["method"] == "elicitation/create"
        assert '"table":"notes"' in asked["params"]["message"]
        assert await is_there(owner)
        await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
        result = (await stream.message())["result"]
    assert result["isError"] is not goes_on
    assert await is_there(owner) is not goes_on


async def test_the_modern_era_confirms_in_a_second_round(
    live: httpx2.AsyncClient, careful: str, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    client = Modern(live, careful)
    first = (await client.ask("tools/call", None, **DELETE)).json()["result"]
    assert first["resultType"] == "input_required"
    assert await is_there(owner)
    yes: dict[str, Any] = {"confirm": {"action": "accept", "content": {"confirm": True}}}
    more: dict[str, Any] = {"requestState": first["requestState"], "inputResponses": yes}
    # What was confirmed is this call and no other one.
    other: dict[str, Any] = {**DELETE, "arguments": {"table": "notes", "filter": {"id": 2}}}
    assert (await client.ask("tools/call", None, **other, **more)).status_code == 400
    done = (await client.ask("tools/call", None, **DELETE, **more)).json()["result"]
    assert done["structuredContent"]["deleted"] == 1
    assert not await is_there(owner)


async def test_nobody_is_asked_of_what_changes_nothing_or_by_who_cannot_ask(
    live: httpx2.AsyncClient, careful: str, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    client = Client(live, careful)
    await client.initialize(**CAN)
    dry = {**DELETE, "arguments": {**DELETE["arguments"], "dry_run": True}}
    read = {"name": "query_table", "arguments": {"table": "notes"}}
    for params in (dry, read):
        answer = await client.post("tools/call", 1, **params)
        assert answer.json()["result"]["isError"] is False
    unable = Client(live, careful)
    await unable.initialize()
    assert (await unable.post("tools/call", 1, **DELETE)).json()["result"]["isError"] is False


async def test_the_configuration_asks_for_keys_that_do_not_say(
    talking: Callable[..., Any], keys: dict[str, tuple[str, str]], backend: Backend, rows: None
) -> None:
    new = NewKey("careless", TABLES, user_id=USER1, confirm="nothing")
    careless = (await backend.keys.create("client_key", new)).key
    async with talking(mcp={"confirm": "destructive"}) as http:
        asked = Client(http, keys["user1"][1])
        await asked.initialize(**CAN)
        async with asked.stream("tools/call", 1, **DELETE) as stream:
            assert (await stream.message())["method"] == "elicitation/create"
        unasked = Client(http, careless)
        await unasked.initialize(**CAN)
        answer = await unasked.post("tools/call", 1, **DELETE)
        assert answer.json()["result"]["structuredContent"]["deleted"] == 1


async def test_a_key_confirms_destructive_calls_or_nothing(backend: Backend) -> None:
    wrong: Any = "everything"
    with pytest.raises(InvalidArgument, match="destructive or nothing"):
        await backend.keys.create("client_key", NewKey("x", TABLES, confirm=wrong))
    with pytest.raises(InvalidArgument, match=r"follows mcp\.confirm"):
        await backend.keys.create("service_key", NewKey("x", TABLES, confirm="destructive"))
