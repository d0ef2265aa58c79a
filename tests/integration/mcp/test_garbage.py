"""A call frees what it took by itself: cycles cost every later call, and hold its memory."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from fluxbase.app.server import Server
from fluxbase.mcp.wire import META, MODERN
from tests.conftest import config_for

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.app.backend import Backend

CALLS = 40
META_OF_MODERN: dict[str, Any] = {
    META + "protocolVersion": MODERN[-1],
    META + "clientCapabilities": {},
}


@pytest.mark.parametrize("modern", [False, True])
async def test_a_call_leaves_nothing_for_the_collector(
    backend: Backend, home: Path, keys: dict[str, tuple[str, str]], rows: None, modern: bool
) -> None:
    params: dict[str, Any] = {"name": "query_table", "arguments": {"table": "notes"}}
    headers = {"x-client-key": keys["user1"][1], "content-type": "application/json"}
    headers |= {"host": "test", "accept": "application/json, text/event-stream"}
    if modern:
        params["_meta"] = META_OF_MODERN
        headers |= {"mcp-protocol-version": MODERN[-1]}
        headers |= {"mcp-method": "tools/call", "mcp-name": "query_table"}
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "client": ("127.0.0.1", 4000),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    # No `running()`: nothing else is to happen meanwhile.
    server = Server(replace(backend, config=config_for(home), postgres=None))

    async def call() -> None:
        await server(scope, receive, send)

    await call()
    assert b'"rows"' in sent[-1]["body"]
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            await call()
        assert gc.collect() < CALLS
    finally:
        gc.enable()
