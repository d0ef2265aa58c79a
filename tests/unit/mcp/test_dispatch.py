"""Whatever arrives and whatever a tool does, there is one well-formed reply."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.errors import (
    ConstraintViolation,
    InternalError,
    RateLimited,
    Unavailable,
    UnknownTool,
)
from fluxbase.mcp.dispatch import Dispatcher, Links, Reply
from fluxbase.mcp.rounds import Rounds
from fluxbase.mcp.turn import Turn
from fluxbase.mcp.wire import META, MODERN, SUPPORTED
from fluxbase.observe import Observer
from fluxbase.principal import Principal
from fluxbase.sessions.post import Post
from fluxbase.toolkit.request import Answer, Request
from fluxbase.toolkit.toolbox import Offer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.database import Database
    from fluxbase.mcp.listening import Listening
    from fluxbase.mcp.turn import Charge
    from fluxbase.sessions.book import Sessions
    from fluxbase.toolkit.runner import Runner

WHO = Principal("client_key", "k", "k", "role", "{}", frozenset())
REQUEST = Request(WHO, "request-1", None)


class Box:
    """A toolbox with one name and nothing to offer."""

    tools: ClassVar[dict[str, None]] = {"work": None}

    def offer(self, _who: Principal) -> Offer:
        return Offer({}, ())


class Worker:
    """A runner whose one tool does what a test says."""

    toolbox = Box()

    def __init__(self, deed: Any = None) -> None:
        self.deed = deed
        self.calls = 0

    async def call(self, _request: Request, name: str, arguments: Mapping[str, Any]) -> Answer:
        assert isinstance(name, str)
        assert isinstance(arguments, dict)
        self.calls += 1
        if isinstance(self.deed, Exception):
            raise self.deed
        if self.deed is not None:
            await self.deed()
        return Answer("[]", b"{}")

    async def read(self, _request: Request, uri: str) -> str:
        assert isinstance(uri, str)
        return "{}"


async def free() -> None:
    """Charge nothing."""


async def handle(
    worker: Worker,
    body: object,
    sent: Mapping[str, str] | None = None,
    deadline: float = 5,
    charge: Charge = free,
) -> Reply:
    # Without a session nothing asks the database.
    links = Links(
        cast("Sessions", None),
        Post(cast("Database", None), bytes(32)),
        cast("Listening", None),
        Rounds(bytes(32)),
    )
    dispatcher = Dispatcher(
        cast("Runner", worker), Observer(), links, deadline=deadline, page_size=10
    )
    return await dispatcher.handle(Turn(REQUEST, sent or {}, charge), body)


def work(id_: int = 1, /, **meta: Any) -> dict[str, Any]:
    params = {"name": "work", "_meta": meta} if meta else {"name": "work"}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


ENVELOPE: dict[str, Any] = {META + "protocolVersion": MODERN[-1], META + "clientCapabilities": {}}
HEADERS = {"mcp-protocol-version": MODERN[-1], "mcp-method": "tools/call", "mcp-name": "work"}


def decoded(reply: Reply) -> Any:
    assert reply.body is not None
    return json.loads(reply.body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
METHODS = st.sampled_from(
    [
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "subscriptions/listen",
    ]
)
MESSAGES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers(0, 9), "method": METHODS},
    optional={
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": JSON,
                "uri": JSON,
                "cursor": JSON,
                "arguments": JSON,
                "protocolVersion": JSON,
                "requestState": JSON,
                "inputResponses": JSON,
                "level": JSON,
                "_meta": st.just(ENVELOPE) | JSON,
            },
        )
    },
)
SENT = st.fixed_dictionaries(
    {},
    optional={"mcp-protocol-version": st.sampled_from(SUPPORTED), "mcp-method": METHODS},
)


@given(body=MESSAGES | JSON | st.lists(MESSAGES | JSON, max_size=4), sent=SENT)
def test_any_json_has_a_reply(body: Any, sent: dict[str, str]) -> None:
    reply = asyncio.run(handle(Worker(), body, sent))
    assert reply.status in (200, 202, 400, 404)
    if reply.body is None:
        assert reply.status == 202
        return
    found = decoded(reply)
    answers = cast("list[Any]", found) if isinstance(found, list) else [found]
    for answer in answers:
        assert answer["jsonrpc"] == "2.0"
        assert ("result" in answer) != ("error" in answer)


async def test_a_tool_that_takes_too_long_is_stopped_and_says_so() -> None:
    stopped = asyncio.Event()

    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    result = decoded(await handle(Worker(sleep), work(), deadline=0.01))["result"]
    assert stopped.is_set()
    assert result["isError"] is True
    assert result["_meta"]["fluxbase/error"]["code"] == "FLX503"


async def test_a_batch_has_one_deadline_for_all_its_messages() -> None:
    async def sleep() -> None:
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    before = loop.time()
    answers = decoded(await handle(Worker(sleep), [work(n) for n in range(20)], deadline=0.05))
    assert loop.time() - before < 1
    assert len(answers) == 20
    assert all(a["result"]["_meta"]["fluxbase/error"]["code"] == "FLX503" for a in answers)


@pytest.mark.parametrize("fault", [ZeroDivisionError("the secret"), InternalError("odd")])
async def test_a_fault_is_logged_and_answered_without_its_text(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = await handle(Worker(fault), work())
    assert reply.status == 500
    assert decoded(reply)["error"]["data"]["code"] == "FLX901"
    assert "secret" not in str(reply.body)
    assert "request-1" in caplog.text


@pytest.mark.parametrize(
    ("fault", "legacy", "modern"),
    [
        (Unavailable(), (503, -32004), (503, -32603)),
        (RateLimited(retry_after=7), (429, -32007), (429, -32600)),
        (UnknownTool(), (200, -32003), (400, -32602)),
    ],
)
async def test_what_concerns_the_server_is_an_error_and_not_a_result(
    fault: Exception, legacy: tuple[int, int], modern: tuple[int, int]
) -> None:
    old = await handle(Worker(fault), work())
    new = await handle(Worker(fault), work(**ENVELOPE), HEADERS)
    assert (old.status, decoded(old)["error"]["code"]) == legacy
    assert (new.status, decoded(new)["error"]["code"]) == modern
    assert old.retry_after == new.retry_after == getattr(fault, "retry_after", None)


async def test_what_concerns_the_call_is_a_result() -> None:
    fault = ConstraintViolation("a check of the table refuses the row (c)")
    for message, sent in ((work(), None), (work(**ENVELOPE), HEADERS)):
        reply = await handle(Worker(fault), message, sent)
        assert reply.status == 200
        assert decoded(reply)["result"]["isError"] is True


async def test_a_batch_that_cannot_be_paid_for_does_not_run() -> None:
    async def broke() -> None:
        raise RateLimited(retry_after=3)

    worker = Worker()
    with pytest.raises(RateLimited):
        await handle(worker, [work(1), work(2)], charge=broke)
    assert worker.calls == 0


async def test_notifications_never_reach_a_tool() -> None:
    worker = Worker()
    message = {k: v for k, v in work().items() if k != "id"}
    assert await handle(worker, message) == Reply(None, 202)
    assert await handle(worker, [message, message]) == Reply(None, 202)
    assert worker.calls == 0
