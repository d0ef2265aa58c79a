"""A server whose tables are those of the grammar, and its two tenants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.db.database import Database
from fluxbase.strict_json import dumps
from tests.conftest import config_for
from tests.grammar import translate
from tests.grammar.cases import TENANTS, Answer, Case, exact
from tests.grammar.stand import schema
from tests.world import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend


@dataclass(frozen=True, slots=True)
class Fluxbase:
    """Our side: the real server and its callers."""

    callers: dict[str, Caller]
    url: str

    async def ask(self, case: Case, tenant: str) -> Answer:
        """Return what `query_table` answers a tenant."""
        arguments = translate.arguments(case.ask) | ({"count": "exact"} if case.count else {})
        params = {"name": "query_table", "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await self.callers[tenant].post(dumps(body))
        told: dict[str, Any] = exact(response.text)
        result = told.get("result")
        if result is None:
            error = told["error"]
            return Answer(None, refusal=f"{error['data']['code']}: {error['message']}")
        if result["isError"]:
            error = result["_meta"]["fluxbase/error"]
            hint = f" ({error['hint']})" if "hint" in error else ""
            return Answer(None, refusal=f"{error['code']}: {error['message']}{hint}")
        page = result["structuredContent"]
        assert not page["truncated"] or case.limited, "the tests' rows fit into one answer"
        return Answer(page["rows"], page["total"])


@pytest.fixture(scope="module")
async def fluxbase(
    backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> AsyncGenerator[Fluxbase]:
    """The server on the grammar's schema, which is in the database as long as this lasts."""
    async with schema(backend.database.logins.admin):
        config = config_for(home, database={"exposed_schemas": ["grammar"], "client_pool_size": 2})
        database = Database(config.database, backend.database.logins)
        await database.open()
        other = replace(backend, config=config, database=database, postgres=None)
        try:
            async with Server(other).running() as app:
                transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 12345))
                async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
                    callers = {name: Caller(name, *keys[name], http) for name in TENANTS}
                    yield Fluxbase(callers, backend.database.logins.admin)
        finally:
            await database.close()
