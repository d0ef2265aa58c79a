"""Every route is listed here with who may use it; a new one fails until it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.app.server import Server
    from tests.world import Caller

# Path and method → who gets a 2xx from another machine: anybody, any key, or a service key.
ROUTES = {
    ("/mcp", "POST"): "key",
    ("/mcp/health", "GET"): "anybody",
    ("/mcp/tools", "GET"): "key",
    ("/mcp/tools/{name}", "POST"): "key",
    ("/mcp/openapi.json", "GET"): "key",
    ("/livez", "GET"): "anybody",
    ("/readyz", "GET"): "anybody",
    ("/metrics", "GET"): "service key",
}
# Who gets what of these depends on the file; `tests/integration/storage` asks for each.
FILES = {
    "/api/v1/storage/{bucket}/{key:path}",
    "/api/v1/functions/{name}",
    "/api/v1/functions/{namespace}/{name}",
    "/api/v1/storage/upload/resumable",
    "/api/v1/storage/upload/resumable/{upload}",
}
EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
NAMED = {"/mcp/tools/{name}": ("/mcp/tools/list_tables", b"{}")}
HELLO = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def routes_of(app: Any) -> list[Route]:
    while not isinstance(app, Starlette):
        app = app._app
    assert all(isinstance(route, Route) for route in app.routes)
    return cast("list[Route]", app.routes)


async def test_every_route_is_listed(server: Server) -> None:
    assert {route.path for route in routes_of(server)} == {path for path, _ in ROUTES} | FILES


@pytest.mark.parametrize("path", sorted({path for path, _ in ROUTES}))
@pytest.mark.parametrize("method", EVERY_METHOD)
async def test_each_route_opens_to_whom_it_should(
    serving: Callable[..., Any], user1: Caller, service: Caller, path: str, method: str
) -> None:
    callers = {
        "anybody": {},
        "key": {"X-Client-Key": user1.key},
        "service key": {"X-Service-Key": service.key},
    }
    expected = ROUTES.get((path, method))
    path, body = NAMED.get(path, (path, HELLO))
    async with serving(remote="198.51.100.9") as http:
        for caller, credential in callers.items():
            headers = {"Content-Type": "application/json", **credential}
            answer = await http.request(method, path, headers=headers, content=body)
            if expected is None:
                assert answer.status_code == 405
            elif list(callers).index(caller) >= list(callers).index(expected):
                assert answer.is_success
            else:
                assert answer.status_code == 401


async def test_a_slash_too_many_is_not_redirected(user1: Caller) -> None:
    answer = await user1.http.post("/mcp/", headers={"X-Client-Key": user1.key})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "FLX402"
