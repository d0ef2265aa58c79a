"""What load balancers and monitors are told, and who may know more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase import __version__
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from fluxbase.app.backend import Backend
    from fluxbase.app.server import Server
    from tests.world import Caller


async def test_the_endpoint_says_how_it_is_without_credentials(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/mcp/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "protocolVersion": "2026-07-28",
        "serverVersion": __version__,
    }


async def test_the_process_says_that_it_lives(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_server_says_that_it_is_ready(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_details_are_told_on_the_machine_itself(http: httpx2.AsyncClient) -> None:
    checks = (await http.get("/readyz?verbose")).json()["checks"]
    assert checks["database"]["ok"] is True
    targets = {finding["target"] for finding in checks["exposure"]["findings"]}
    assert "public.unprotected" in targets


@pytest.mark.parametrize("path", ["/readyz?verbose", "/metrics"])
async def test_from_elsewhere_details_need_a_service_key(
    serving: Callable[..., Any], user1: Caller, service: Caller, path: str
) -> None:
    async with serving(remote="192.0.2.7") as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        for headers in ({}, {"X-Client-Key": user1.key}, {"X-Service-Key": "fbs_x"}):
            answer = await http.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"]
            assert answer.json()["error"]["code"] == "FLX301"
        answer = await http.get(path, headers={"X-Service-Key": service.key})
        assert answer.status_code == 200


async def test_an_address_that_is_none_is_not_trusted(serving: Callable[..., Any]) -> None:
    async with serving(remote="unknown") as http:
        assert (await http.get("/metrics")).status_code == 401


async def test_metrics_count_calls(http: httpx2.AsyncClient, user1: Caller) -> None:
    await user1.rows("notes", limit=1)
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'fluxbase_calls_total{outcome="ok",tool="query_table"}' in answer.text
    assert "fluxbase_pool_size" in answer.text


async def test_made_up_names_do_not_become_metrics(http: httpx2.AsyncClient, user1: Caller) -> None:
    await user1.rpc("tools/call", name="made_up_tool", arguments={})
    await user1.rpc("made/up")
    text = (await http.get("/metrics")).text
    assert "made_up" not in text
    assert "made/up" not in text


async def test_without_the_database_it_lives_but_is_not_ready(
    backend: Backend, serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down() -> float:
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(backend.database, "ready", down)
    async with serving() as http:
        assert (await http.get("/livez")).status_code == 200
        for path, status in (("/readyz", "not ready"), ("/mcp/health", "unhealthy")):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, status)
            assert answer.headers["retry-after"] == "1"


async def test_a_draining_server_is_not_ready(
    server: Server, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.health, "draining", True)
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "draining": True})
