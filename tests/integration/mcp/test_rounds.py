"""The modern era asks by letting a client call again, and tells on streams that it opens itself."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mcp_types.methods import validate_server_result

from fluxbase.auth.keys import NewKey
from fluxbase.mcp import rounds
from fluxbase.mcp.wire import META, MODERN
from tests.integration.mcp.live import BOTH, Client, Stream, request, until
from tests.integration.mcp.modern import headers_of
from tests.integration.mcp.room import waiting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

NOW = MODERN[-1]
ANSWER = {"name": {"action": "accept", "content": {"name": "world"}}}
ALL = {
    "toolsListChanged": True,
    "resourcesListChanged": True,
    "promptsListChanged": True,
    "resourceSubscriptions": ["fluxbase://schema/tables"],
}

DAMAGES: list[Callable[[str], Any]] = [
    lambda s: s[:-1] + ("A" if s[-1] != "A" else "B"),
    lambda s: s + "A",
    lambda s: "x" + s,
    lambda s: s.partition(".")[0],
    lambda s: s.partition(".")[0] + ".",
    lambda _: "",
    lambda _: 5,
    lambda _: "A" * 70_000,
    lambda s: (
        base64.urlsafe_b64encode(b'{"call":"x","until":9999999999,"state":"forged"}')
        .decode()
        .rstrip("=")
        + "."
        + s.partition(".")[2]
    ),
]


class Modern(Client):
    """A client that speaks the modern version."""

    capable: dict[str, Any]
    meta: dict[str, Any]

    def _message(self, method: str, params: dict[str, Any]) -> tuple[Any, dict[str, str]]:
        meta = {
            META + "protocolVersion": NOW,
            META + "clientCapabilities": getattr(self, "capable", {"elicitation": {}}),
            **getattr(self, "meta", {}),
        }
        sent = {k.replace("_", "-"): v for k, v in headers_of(method, params).items()}
        body = request(method, 1, _meta=meta, **params)
        return body, {"X-Client-Key": self.key, "Accept": BOTH, **sent}

    async def ask(
        self, method: str, sent: dict[str, str] | None = None, **params: Any
    ) -> httpx2.Response:
        body, headers = self._message(method, params)
        return await self.http.post("/mcp", json=body, headers={**headers, **(sent or {})})

    @asynccontextmanager
    async def follow(self, method: str, **params: Any) -> AsyncGenerator[Stream]:
        body, headers = self._message(method, params)
        async with self.http.stream("POST", "/mcp", json=body, headers=headers) as response:
            assert response.headers["content-type"] == "text/event-stream", await response.aread()
            yield Stream(response)


@pytest.fixture
def me(client: Client) -> Modern:
    return Modern(client.http, client.key)


@pytest.fixture
def other(stranger: Client) -> Modern:
    return Modern(stranger.http, stranger.key)


def greet(**more: Any) -> dict[str, Any]:
    return {"name": "greet", "arguments": {"greeting": "Hello"}, **more}


async def first_round(me: Modern) -> dict[str, Any]:
    answer = await me.ask("tools/call", **greet())
    assert answer.status_code == 200
    result = answer.json()["result"]
    validate_server_result("tools/call", NOW, result)
    assert result["resultType"] == "input_required"
    return result


async def test_a_question_ends_the_round_and_the_answer_begins_the_next(me: Modern) -> None:
    result = await first_round(me)
    asked = result["inputRequests"]["name"]
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Whom?"
    state = result["requestState"]
    again = await me.ask("tools/call", **greet(inputResponses=ANSWER, requestState=state))
    done = again.json()["result"]
    validate_server_result("tools/call", NOW, done)
    assert done["resultType"] == "complete"
    assert done["structuredContent"]["said"] == "Hello world; asked"


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_state_that_was_tampered_with_is_refused(
    me: Modern, damage: Callable[[str], Any]
) -> None:
    state = damage((await first_round(me))["requestState"])
    again = await me.ask("tools/call", **greet(inputResponses=ANSWER, requestState=state))
    assert again.status_code == 400
    assert again.json()["error"]["code"] == -32602


async def test_a_state_is_of_one_caller_and_one_call(me: Modern, other: Modern) -> None:
    state = (await first_round(me))["requestState"]
    stolen = await other.ask("tools/call", **greet(inputResponses=ANSWER, requestState=state))
    assert stolen.status_code == 400
    changed = greet(inputResponses=ANSWER, requestState=state)
    changed["arguments"] = {"greeting": "Bye"}
    assert (await me.ask("tools/call", **changed)).status_code == 400


async def test_a_state_does_not_last_for_ever(me: Modern, monkeypatch: pytest.MonkeyPatch) -> None:
    state = (await first_round(me))["requestState"]
    later = time.time() + rounds.LIFE + 1
    monkeypatch.setattr("fluxbase.mcp.rounds.time.time", lambda: later)
    again = await me.ask("tools/call", **greet(inputResponses=ANSWER, requestState=state))
    assert again.status_code == 400
    assert "too old" in again.json()["error"]["message"]


async def test_a_client_without_the_capability_is_refused_before_it_is_asked(me: Modern) -> None:
    me.capable = {"sampling": {}}
    answer = await me.ask("tools/call", **greet())
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == -32021
    assert error["data"]["requiredCapabilities"] == {"elicitation": {}}


@pytest.mark.parametrize("given", [{"name": 5}, {"name": None}])
async def test_answers_that_are_no_objects_are_refused(me: Modern, given: Any) -> None:
    state = (await first_round(me))["requestState"]
    again = await me.ask("tools/call", **greet(inputResponses=given, requestState=state))
    assert again.status_code == 400
    assert again.json()["error"]["code"] == -32602


async def test_progress_and_logs_come_on_the_stream_of_the_answer(me: Modern) -> None:
    me.meta = {"progressToken": "p", META + "logLevel": "info"}
    params: dict[str, Any] = {"name": "steps", "arguments": {"many": 2}}
    async with me.follow("tools/call", **params) as stream:
        messages = await stream.rest()
    assert [m.get("method") for m in messages] == [
        *["notifications/progress", "notifications/message"] * 2,
        None,
    ]
    assert messages[-1]["result"]["resultType"] == "complete"


async def test_closing_the_stream_cancels_the_call(me: Modern) -> None:
    async def waits() -> bool:
        return any(ctx.who.id in me.key for ctx in waiting)

    running = asyncio.ensure_future(me.ask("tools/call", name="wait", arguments={"seconds": 30}))
    await until(waits, True)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(waits, False)


async def test_listening_begins_with_what_will_be_told(me: Modern) -> None:
    async with me.follow("subscriptions/listen", notifications=ALL) as stream:
        first = await stream.message()
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["notifications"] == ALL
    assert first["params"]["_meta"] == {META + "subscriptionId": 1}


async def test_who_listens_is_told_what_was_asked_for_and_nothing_else(
    talking: Callable[..., Any], backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    made = await backend.keys.create("client_key", NewKey("listens", ("read:tables",)))
    async with talking() as http:
        me = Modern(http, made.key)
        deaf = {"promptsListChanged": True}
        async with (
            me.follow("subscriptions/listen", notifications=ALL) as all_of_it,
            me.follow("subscriptions/listen", notifications=deaf) as nothing,
        ):
            await all_of_it.message()
            assert (await nothing.message())["params"]["notifications"] == deaf
            scopes = {"scopes": ("read:tables", "write:tables")}
            await backend.keys.update("client_key", made.id, scopes)
            heard: set[str] = set()  # a new role may be told of as a change of tables too
            while "notifications/tools/list_changed" not in heard:
                told = await all_of_it.message()
                assert told["params"]["_meta"] == {META + "subscriptionId": 1}
                heard.add(told["method"])
            assert heard <= {"notifications/tools/list_changed", "notifications/resources/updated"}
            await owner.execute("CREATE TABLE public.fresh2 (id int); DROP TABLE public.fresh2")
            updated = await all_of_it.message()
            assert updated["method"] == "notifications/resources/updated"
            assert updated["params"]["uri"] == "fluxbase://schema/tables"
            await backend.keys.revoke("client_key", made.id)
            # A change of tables may be told in several words.
            assert (await all_of_it.rest())[-1]["result"]["resultType"] == "complete"
            assert [m.get("method") for m in await nothing.rest()] == [None]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"notifications": 5},
        {"notifications": {"resourceSubscriptions": "x"}},
        {"notifications": {"resourceSubscriptions": [5]}},
        {"notifications": {"resourceSubscriptions": ["x"] * 101}},
    ],
)
async def test_listening_to_nothing_known_is_refused(me: Modern, wrong: dict[str, Any]) -> None:
    answer = await me.ask("subscriptions/listen", **wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32602


async def test_listening_needs_a_client_that_takes_streams(me: Modern) -> None:
    sent = {"Accept": "application/json"}
    answer = await me.ask("subscriptions/listen", sent, notifications={})
    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("header", "status"),
    [("north", 200), ("=?base64?bm9ydGg=?=", 200), ("south", 400), (None, 400)],
)
async def test_a_header_says_the_same_as_the_argument_it_mirrors(
    me: Modern, header: str | None, status: int
) -> None:
    sent = {} if header is None else {"Mcp-Param-Region": header}
    answer = await me.ask("tools/call", sent, name="region", arguments={"where": "north"})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["code"] == -32020
        assert "Mcp-Param-Region" in json.dumps(answer.json())
