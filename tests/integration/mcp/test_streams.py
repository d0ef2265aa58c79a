"""What a call tells and asks before it is done, and how a client comes back for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from tests.integration.mcp.live import Client, listening, request, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend

Keys = dict[str, tuple[str, str]]
FORMS: dict[str, Any] = {"elicitation": {}}


def call(name: str, token: object = None, **arguments: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": name, "arguments": arguments}
    return params if token is None else {**params, "_meta": {"progressToken": token}}


def said(message: dict[str, Any]) -> str:
    return message["result"]["structuredContent"]["said"]


async def test_progress_comes_before_the_answer_on_the_same_stream(client: Client) -> None:
    await client.initialize()
    async with client.stream("tools/call", 7, **call("steps", "token", many=3)) as stream:
        messages = await stream.rest()
    told = [m["params"] for m in messages[:-1]]
    assert [m["method"] for m in messages[:-1]] == ["notifications/progress"] * 3
    assert told[0] == {"progressToken": "token", "progress": 1, "total": 3, "message": "step 1"}
    assert [t["progress"] for t in told] == [1, 2, 3]
    assert (messages[-1]["id"], said(messages[-1])) == (7, "done")


async def test_without_a_token_or_a_stream_the_answer_is_plain_json(client: Client) -> None:
    await client.initialize()
    plain = await client.post("tools/call", 1, **call("steps"))
    assert plain.headers["content-type"] == "application/json"
    assert said(plain.json()) == "done"
    body = request("tools/call", 1, **call("steps", "token"))
    headers = {**client.headers, "Accept": "application/json"}
    deaf = await client.http.post("/mcp", json=body, headers=headers)
    assert deaf.headers["content-type"] == "application/json"


async def test_progress_needs_no_session(client: Client) -> None:
    async with client.stream("tools/call", 1, **call("steps", 5, many=2)) as stream:
        first = await stream.event()
        assert first is not None
        assert first.id is None  # nothing is kept for nobody
        assert first.message["params"]["progressToken"] == 5
        assert said((await stream.rest())[-1]) == "done"


async def test_a_long_call_tells_that_it_still_runs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.mcp.conversation._TICK", 0.1)
    async with client.stream("tools/call", 1, **call("wait", "t", seconds=0.5)) as stream:
        messages = await stream.rest()
    told = [m["params"]["progress"] for m in messages[:-1]]
    assert len(told) >= 2
    assert told == sorted(set(told))


async def test_a_session_hears_of_the_levels_that_it_asked_for(client: Client) -> None:
    await client.initialize()
    for level, heard in (("warning", []), ("info", [1, 2]), ("debug", [1, 2])):
        assert (await client.post("logging/setLevel", level=level)).json()["result"] == {}
        if not heard:
            plain = await client.post("tools/call", 1, **call("steps", many=2))
            assert plain.headers["content-type"] == "application/json"
            continue
        async with client.stream("tools/call", 1, **call("steps", many=2)) as stream:
            messages = await stream.rest()
        logs = [m["params"] for m in messages[:-1]]
        assert [e["data"]["step"] for e in logs if "step" in e["data"]] == heard
        ended = [e["data"]["ms"] for e in logs if "ms" in e["data"]]
        assert len(ended) == (level == "debug")
        assert {entry["level"] for entry in logs} <= {"info", "debug"}
    wrong = (await client.post("logging/setLevel", level="loud")).json()["error"]
    assert wrong["code"] == -32602


async def test_a_person_is_asked_and_answers(client: Client) -> None:
    await client.initialize(**FORMS)
    async with client.stream("tools/call", 3, **call("greet")) as stream:
        asked = await stream.message()
        assert asked["method"] == "elicitation/create"
        assert asked["params"]["message"] == "Whom?"
        answer = {"action": "accept", "content": {"name": "world"}}
        sent = await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
        assert (sent.status_code, sent.content) == (202, b"")
        assert said(await stream.message()) == "Hello world; None"


async def test_a_client_that_refuses_to_answer_fails_the_call(client: Client) -> None:
    await client.initialize(**FORMS)
    async with client.stream("tools/call", 1, **call("greet")) as stream:
        asked = await stream.message()
        error = {"code": -1, "message": "no"}
        await client.send({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        result = (await stream.message())["result"]
    assert result["isError"] is True
    assert result["_meta"]["fluxbase/error"]["code"] == "FLX302"


async def test_an_answer_reaches_the_server_that_asked(
    talking: Callable[..., Any], keys: Keys
) -> None:
    async with talking() as first, talking() as second:
        client = Client(first, keys["user1"][1])
        await client.initialize(**FORMS)
        other = Client(second, client.key, session=client.session)
        async with client.stream("tools/call", 1, **call("greet")) as stream:
            asked = await stream.message()
            answer = {"action": "accept", "content": {"name": "x" * 20_000}}
            await other.send({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            assert said(await stream.message()).startswith("Hello xxx")


async def test_nobody_answers_for_another_session(client: Client, stranger: Client) -> None:
    await client.initialize(**FORMS)
    await stranger.initialize(**FORMS)
    async with client.stream("tools/call", 1, **call("greet")) as stream:
        asked = await stream.message()
        for body, name in ((stranger, "stranger"), (client, "owner")):
            answer = {"action": "accept", "content": {"name": name}}
            await body.send({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
        assert said(await stream.message()) == "Hello owner; None"


async def test_answers_to_what_nobody_asked_are_not_kept(
    client: Client, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await client.initialize()
    for made_up in ("fluxbase-0123", f"fluxbase-{'0' * 16}-{'0' * 24}", "x", 5):
        sent = await client.send({"jsonrpc": "2.0", "id": made_up, "result": {}})
        assert sent.status_code == 202
    count = "SELECT count(*) FROM platform.mcp_events WHERE session = $1"
    assert await owner.fetchval(count, client.session) == 0


async def test_an_answer_too_large_to_be_kept_says_so_to_who_comes_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.sessions.events._LARGEST", 180)
    await client.initialize()
    params = {"name": "query_table", "arguments": {"table": "news", "limit": 20}}
    await client.post("logging/setLevel", level="debug")
    async with client.stream("tools/call", 4, **params) as stream:
        primer = await stream.event()
        assert primer is not None
        whole = await stream.rest()
    assert "result" in whole[-1]
    async with client.listen(primer.id) as again:
        [*_, last] = await again.rest()
    assert (last["id"], last["error"]["code"]) == (4, -32004)


async def test_a_client_that_cannot_be_asked_is_told_so(client: Client) -> None:
    await client.initialize()
    result = (await client.post("tools/call", 1, **call("greet"))).json()["result"]
    assert result["isError"] is True
    assert "elicitation" in result["content"][0]["text"]


async def test_waiting_for_a_person_does_not_use_up_the_calls_time(
    talking: Callable[..., Any], keys: Keys
) -> None:
    async with talking(server={"request_timeout": 0.5, "allowed_hosts": ["test"]}) as http:
        client = Client(http, keys["user1"][1])
        await client.initialize(**FORMS)
        async with client.stream("tools/call", 1, **call("greet")) as stream:
            asked = await stream.message()
            await asyncio.sleep(1)
            answer = {"action": "accept", "content": {"name": "late"}}
            await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            assert said(await stream.message()) == "Hello late; None"
        slow = (await client.post("tools/call", 1, **call("wait", seconds=5))).json()["result"]
        assert slow["_meta"]["fluxbase/error"]["code"] == "FLX503"


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cancelled_call_stops(
    talking: Callable[..., Any], keys: Keys, elsewhere: bool
) -> None:
    async with talking() as first, talking() as second:
        client = Client(first, keys["user1"][1])
        await client.initialize()
        other = Client(second if elsewhere else first, client.key, session=client.session)
        running = asyncio.ensure_future(client.post("tools/call", "c1", **call("wait", seconds=9)))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        sent = await other.post("notifications/cancelled", None, requestId="c1", reason="enough")
        assert sent.status_code == 202
        answer = (await running).json()
        assert time.monotonic() - began < 5
        assert answer["error"]["data"]["code"] == "FLX507"


async def test_nobody_cancels_the_call_of_another_session(client: Client, stranger: Client) -> None:
    await client.initialize()
    await stranger.initialize()
    running = asyncio.ensure_future(client.post("tools/call", 5, **call("wait", seconds=0.6)))
    await asyncio.sleep(0.1)
    await stranger.post("notifications/cancelled", None, requestId=5)
    assert said((await running).json()) == "waited"


async def test_the_rest_of_a_broken_stream_is_fetched_with_the_last_id(client: Client) -> None:
    await client.initialize()
    async with client.stream("tools/call", 4, **call("steps", "t", many=3)) as stream:
        first = await stream.event()
        assert first is not None
        assert (first.data, first.retry) == ("", 1000)
        second = await stream.event()
        assert second is not None
        whole = [second.message, *await stream.rest()]
    async with client.listen(first.id) as again:
        assert await again.rest() == whole
    async with client.listen(second.id) as again:
        assert await again.rest() == whole[1:]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_call_goes_on_while_its_client_is_away(
    talking: Callable[..., Any], keys: Keys, elsewhere: bool
) -> None:
    async with talking() as first, talking() as second:
        client = Client(first, keys["user1"][1])
        await client.initialize()
        params = call("wait", seconds=0.8, hang_up=True)
        async with client.stream("tools/call", 9, **params) as stream:
            primer = await stream.event()
            assert primer is not None
            assert await stream.event() is None  # it was let go
        if elsewhere:
            client.http = second
        async with client.listen(primer.id) as again:
            [answer] = await again.rest()
        assert (answer["id"], said(answer)) == (9, "waited")


async def test_an_older_client_gets_no_empty_event(client: Client) -> None:
    client.version = "2025-06-18"
    await client.initialize()
    async with client.stream("tools/call", 1, **call("steps", "t", many=1)) as stream:
        first = await stream.event()
        assert first is not None
        assert first.message["method"] == "notifications/progress"
        assert first.id is not None


@pytest.mark.parametrize("last", ["x", "0123456789ab.4", "general", "../..", "general.x"])
async def test_an_id_that_names_nothing_is_refused_or_starts_anew(
    client: Client, last: str
) -> None:
    await client.initialize()
    headers = {**client.headers, "Last-Event-ID": last}
    async with client.http.stream("GET", "/mcp", headers=headers) as answer:
        assert answer.status_code == (200 if last.startswith("general.") else 400)


async def test_nobody_reads_the_stream_of_another_session(client: Client, stranger: Client) -> None:
    await client.initialize()
    await stranger.initialize()
    async with client.stream("tools/call", 1, **call("steps", "t")) as stream:
        first = await stream.event()
        assert first is not None
        await stream.rest()
    headers = {**stranger.headers, "Last-Event-ID": str(first.id)}
    assert (await stranger.http.get("/mcp", headers=headers)).status_code == 400


async def test_streams_are_only_for_who_takes_them(client: Client) -> None:
    await client.initialize()
    headers = {**client.headers, "Accept": "application/json"}
    answer = await client.http.get("/mcp", headers=headers)
    assert answer.status_code == 406


async def test_a_change_of_a_key_is_told_to_its_streams(
    talking: Callable[..., Any], backend: Backend, keys: Keys
) -> None:
    made = await backend.keys.create("client_key", NewKey("changes", ("read:tables",)))
    async with talking() as http:
        client = Client(http, made.key)
        await client.initialize()
        async with client.listen() as stream:
            await stream.event()
            await backend.keys.update(
                "client_key", made.id, {"scopes": ("read:tables", "write:tables")}
            )
            told = await stream.message()
            assert told == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            await backend.keys.revoke("client_key", made.id)
            assert await stream.event() is None


async def test_a_changed_catalog_is_told_to_who_subscribed(
    client: Client, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await client.initialize()
    uri = "fluxbase://schema/tables"
    assert (await client.post("resources/subscribe", uri=uri)).json()["result"] == {}
    assert (await client.post("resources/subscribe", uri="test://x")).json()["result"] == {}
    async with client.listen() as stream:
        primer = await stream.event()
        await owner.execute("CREATE TABLE public.fresh (id int); DROP TABLE public.fresh")
        told = await stream.message()
    assert told["method"] == "notifications/resources/updated"
    assert told["params"] == {"uri": uri}
    assert primer is not None
    # Whoever comes back may have missed something.
    async with client.listen(primer.id) as stream:
        uris = {(await stream.message())["params"]["uri"] for _ in range(2)}
    assert uris == {uri, "test://x"}
    await client.post("resources/unsubscribe", uri=uri)
    await client.post("resources/unsubscribe", uri="test://x")


async def test_what_changed_while_a_client_was_away_is_told_when_it_is_back(
    talking: Callable[..., Any], backend: Backend
) -> None:
    made = await backend.keys.create("client_key", NewKey("away", ("read:tables",)))
    async with talking() as http:
        client = Client(http, made.key)
        await client.initialize()
        async with client.listen() as stream:
            primer = await stream.event()
        assert primer is not None
        await backend.keys.update(
            "client_key", made.id, {"scopes": ("read:tables", "write:tables")}
        )
        await until(lambda: may_insert(client), True)
        async with client.listen(primer.id) as stream:
            assert (await stream.message())["method"] == "notifications/tools/list_changed"


async def may_insert(client: Client) -> bool:
    found = (await client.post("tools/list")).json()["result"]["tools"]
    return "insert_record" in [tool["name"] for tool in found]


async def test_a_stream_ends_when_the_server_drains(backend: Backend, keys: Keys) -> None:
    server = Server(backend)
    async with server.running(), listening(server) as http:
        client = Client(http, keys["user1"][1])
        await client.initialize()
        async with client.listen() as stream:
            await stream.event()
            server.drain()
            assert await stream.event() is None
        headers = client.headers
        assert (await http.get("/mcp", headers=headers)).status_code == 503
