"""Users with tokens are told of their own calls; with other claims a user is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2

from fluxbase.app.server import Server
from tests.conftest import config_for
from tests.integration.auth.test_tokens import ISSUER, SECRET, Bearer, token
from tests.integration.functions.conftest import deploy

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from tests.world import Caller

COUNTS = """let n = 0;
export default () => { console.log("of", fluxbase.caller.claims.org); return new Response(++n); }"""


async def test_a_user_with_other_claims_sees_neither_the_process_nor_the_log_of_the_first(
    backend: Backend, home: Path, admin: Caller
) -> None:
    rules = {"secret": SECRET, "issuer": ISSUER, "audience": ["fluxbase"]}
    config = config_for(
        home,
        auth={
            "jwt": {
                **rules,
                "role_map": {"authenticated": "authenticated"},
                "scopes": ["execute:functions"],
            }
        },
    )
    await deploy(admin, "counts", COUNTS)
    async with Server(replace(backend, config=config, postgres=None)).running() as server:
        transport = httpx2.ASGITransport(app=server, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            first = Bearer("first", "", token(org="a"), client)
            later = Bearer("later", "", token(org="a", jti="later"), client)
            other = Bearer("other", "", token(org="b"), client)
            counts = [
                (await caller.call("invoke_function", name="counts"))["body"]
                for caller in (first, later, other)
            ]
            logs = [
                (await caller.call("get_function_logs", name="counts"))["executions"]
                for caller in (first, later, other)
            ]
    assert counts == ["1", "2", "1"]
    said = [[line["message"] for e in found for line in e["lines"]] for found in logs]
    assert said == [["of a"] * 2, ["of a"] * 2, ["of b"]]
