"""A running server takes over a whole new configuration, or none of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest

from fluxbase.app import lines as lines_module
from fluxbase.app.server import Server
from fluxbase.config import load
from fluxbase.errors import ConfigError
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpg import Connection, Record

    from fluxbase.app.backend import Backend

BASE = "server: {allowed_hosts: [test]}\n"


class Reloading:
    """A server on a file that a test rewrites."""

    def __init__(self, backend: Backend, file: Path, key: str) -> None:
        self.file = file
        self.backend = backend
        self.write("mcp: {enabled: true}\n")
        config = load(file, env={}).config
        own = replace(backend, config=config, postgres=None)
        self.server = Server(own, file)
        transport = httpx2.ASGITransport(app=self.server, client=("127.0.0.1", 1))
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://test")
        self.caller = Caller("user1", "", key, self.http)

    def write(self, content: str) -> None:
        self.file.write_text(BASE + content, "utf-8")

    async def tools(self) -> list[str]:
        listed = await self.caller.rpc("tools/list")
        return [tool["name"] for tool in listed["result"]["tools"]]

    async def reload_error(self) -> str | None:
        answer = await self.http.get("/readyz?verbose")
        return answer.json()["checks"]["config"]["reload_error"]


@pytest.fixture
def reloading(
    backend: Backend, tmp_path: Path, keys: dict[str, tuple[str, str]], rows: None
) -> Reloading:
    return Reloading(backend, tmp_path / "fluxbase.yaml", keys["user1"][1])


async def test_a_good_file_is_taken_over(reloading: Reloading) -> None:
    assert "delete_record" in await reloading.tools()
    reloading.write("mcp: {enabled: true, allowed_tools: ['query_*'], base_path: /api}\n")
    reloading.server.reload()
    reloading.caller.path = "/api"
    assert await reloading.tools() == ["query_table"]
    assert (await reloading.http.post("/mcp")).status_code == 404
    assert await reloading.reload_error() is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("mcp: {enabled: true, rate: 5}\n", "mcp.rate"),
        ("mcp: {enabled: true, allowed_tools: [nope]}\n", "allowed_tools"),
        ("mcp: {enabled: true\n", "YAML"),
        ("mcp: {enabled: true}\nlimits: {storage: 'redis://x'}\n", "restart"),
        ("mcp: {enabled: true}\nauth: {jwt: {secret: short, issuer: i, audience: [a]}}\n", "auth"),
    ],
)
async def test_a_bad_file_changes_nothing_and_shows(
    reloading: Reloading, content: str, named: str
) -> None:
    before = await reloading.tools()
    reloading.write(content)
    reloading.server.reload()
    assert await reloading.tools() == before
    error = await reloading.reload_error()
    assert error is not None
    assert named in error
    reloading.write("mcp: {enabled: true}\n")
    reloading.server.reload()
    assert await reloading.reload_error() is None


async def test_a_new_rate_limit_holds_at_once(reloading: Reloading) -> None:
    reloading.write("mcp: {enabled: true, rate_limit_per_min: 2}\n")
    reloading.server.reload()
    await reloading.caller.call("count_records", table="notes")
    await reloading.caller.call("count_records", table="notes")
    with pytest.raises(Refused) as refused:
        await reloading.caller.call("count_records", table="notes")
    assert refused.value.code == "FLX501"


async def test_strict_refuses_to_start_on_unsafe_exposure(
    backend: Backend, owner: Connection[Record]
) -> None:
    found = Server(backend)
    async with found.running():
        lints = {(f.lint, f.target) for f in found.findings}
    assert ("table_without_rls", "public.unprotected") in lints
    assert ("view_not_security_invoker", "public.all_notes") in lints
    assert ("materialized_view_exposed", "public.frozen_notes") in lints
    assert not any(target.endswith((".notes", ".my_notes")) for _, target in lints)
    strict = backend.config.model_copy(
        update={"database": backend.config.database.model_copy(update={"strict": True})}
    )
    refusing = Server(replace(backend, config=strict, postgres=None))
    with pytest.raises(ConfigError, match="unsafe"):
        async with refusing.running():
            raise AssertionError


async def test_each_finding_comes_with_sql_that_mends_it(
    backend: Backend, owner: Connection[Record]
) -> None:
    await owner.execute(
        "CREATE TABLE public.loose (id int); GRANT SELECT ON public.loose TO authenticated;"
        "CREATE VIEW public.loose_view AS SELECT * FROM public.loose;"
        "GRANT SELECT ON public.loose_view TO authenticated;"
        "GRANT CREATE ON SCHEMA public TO authenticated"
    )
    try:
        server = Server(backend)
        async with server.running():
            mine = [f for f in server.findings if "loose" in f.target or f.target == "public"]
        assert {f.lint for f in mine} == {
            "table_without_rls",
            "view_not_security_invoker",
            "schema_create_granted",
        }
        for finding in mine:
            await owner.execute(finding.fix)
        async with server.running():
            left = {f.lint for f in server.findings if "loose" in f.target or f.target == "public"}
        assert left == {"rls_without_policy"}
    finally:
        await owner.execute("REVOKE CREATE ON SCHEMA public FROM authenticated")
        await owner.execute("DROP TABLE public.loose CASCADE")


async def test_background_work_that_fails_is_started_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "_RESTART", 0)
    server = Server(backend)
    again, calls = asyncio.Event(), 0

    async def listen() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("unexpected")
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(server.listener, "run", listen)
    async with server.running(), asyncio.timeout(5):
        await again.wait()
