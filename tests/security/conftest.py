"""What the security tests share: a server whose pools have one connection each, and its callers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.auth.credential import Credential
from fluxbase.auth.keys import NewKey
from fluxbase.db.database import Database
from fluxbase.principal import Principal
from tests.conftest import config_for
from tests.security import traps
from tests.sql_callers import askers, one, sql_keys, two
from tests.world import USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.auth.token import KeyKind


__all__ = ["askers", "one", "sql_keys", "two"]  # fixtures of other tests as well


@dataclass
class Tight:
    """A server with one connection a login, so that every borrower takes the same one."""

    database: Database
    callers: dict[str, Caller]
    who: dict[str, Principal]


@pytest.fixture(scope="session")
async def tight(
    backend: Backend,
    home: Path,
    owner: asyncpg.Connection[asyncpg.Record],
    keys: dict[str, tuple[str, str]],
) -> AsyncGenerator[Tight]:
    """The server on the tables of `tests.security.traps`, which no other server exposes."""
    await owner.execute(traps.SCHEMA)
    exposed = {"exposed_schemas": ["public", "traps"], "acquire_timeout": 10}
    config = config_for(home, database={**_sizes(1), **exposed})
    database = Database(config.database, backend.database.logins)
    await database.open()
    other = replace(backend, config=config, database=database, postgres=None)
    try:
        async with Server(other).running() as server, client_of(server) as http:
            callers = {name: Caller(name, id_, key, http) for name, (id_, key) in keys.items()}
            who: dict[str, Principal] = {}
            for name, (_, key) in keys.items():
                source = "x-service-key" if key.startswith("fbs_") else "x-client-key"
                credential = Credential(source, key)
                who[name] = await server.authenticator.authenticate(credential, None)
            who["token"] = token_user(USER2)
            yield Tight(database, callers, who)
    finally:
        await database.close()
        await owner.execute("DROP SCHEMA traps CASCADE")


@pytest.fixture
def issue(backend: Backend, http: httpx2.AsyncClient) -> Callable[..., Any]:
    """Make a key and return its caller: `await issue(name="x", scopes=(...))`."""

    async def make(kind: KeyKind = "client_key", **fields: Any) -> Caller:
        usual: dict[str, Any] = {"name": "made for a test", "scopes": ("read:tables",)}
        new = NewKey(**{**usual, **fields})
        issued = await backend.keys.create(kind, new)
        return Caller(new.name, issued.id, issued.key, http)

    return make


def token_user(user: str) -> Principal:
    """Return a holder of a JWT, with letters that no single-byte encoding carries."""
    claims = f'{{"sub":"{user}","role":"authenticated","name":"Zoë ☃"}}'
    return Principal(
        "user", f"user:{user}", "Zoë", "authenticated", claims, frozenset(("read:tables",)), user
    )


def client_of(app: Any, remote: str = "127.0.0.1") -> httpx2.AsyncClient:
    """Return a client of an application in this process."""
    transport = httpx2.ASGITransport(app=app, client=(remote, 12345))
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


@asynccontextmanager
async def server_on(backend: Backend, database: Database) -> AsyncGenerator[httpx2.AsyncClient]:
    """Serve another view of the same database, with the configuration that it carries."""
    config = backend.config.model_copy(update={"database": database.config})
    other = replace(backend, config=config, database=database, postgres=None)
    async with Server(other).running() as server, client_of(server) as http:
        yield http


def _sizes(many: int) -> dict[str, int]:
    return {"client_pool_size": many, "service_pool_size": many, "admin_pool_size": 2}
