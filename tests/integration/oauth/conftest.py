"""A server with the login enabled, and people who use it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from fluxbase.app.server import Server
from fluxbase.oauth.users import Users
from tests.conftest import config_for
from tests.integration.oauth.dance import ISSUER, OAUTH, PASSWORD, Assistant, Person

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    import asyncpg

    from fluxbase.app.backend import Backend

USER1 = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def servers() -> dict[str, Server]:
    """The servers that were opened, by their settings."""
    return {}


@pytest.fixture
async def logins(
    backend: Backend, home: Path, servers: dict[str, Server]
) -> AsyncGenerator[Callable[..., Any]]:
    """Open a browser or client of a server with the login: each with cookies of its own."""
    async with AsyncExitStack() as stack:

        async def opened(
            remote: str = "127.0.0.1", oauth: Mapping[str, Any] | None = None, **more: Any
        ) -> httpx2.AsyncClient:
            settings = {**OAUTH, **(oauth or {})}
            key = f"{settings} {more}"
            if key not in servers:
                config = config_for(home, auth={"oauth": settings}, **more)
                other = replace(backend, config=config, postgres=None)
                servers[key] = await stack.enter_async_context(Server(other).running())
            transport = httpx2.ASGITransport(app=servers[key], client=(remote, 4000))
            client = httpx2.AsyncClient(transport=transport, base_url=ISSUER)
            return await stack.enter_async_context(client)

        yield opened


@pytest.fixture
async def users(backend: Backend) -> Users:
    return Users(backend.database, backend.peppers.derive("audit"))


@pytest.fixture
async def people(
    users: Users, logins: Callable[..., Any], owner: asyncpg.Connection[asyncpg.Record], rows: None
) -> Callable[..., Awaitable[Person]]:
    """Make a person, by default the one whose notes are those of user1."""

    async def made(
        email: str = "one@example.com",
        id_: str | None = USER1,
        scopes: tuple[str, ...] = ("*",),
        **options: Any,
    ) -> Person:
        await owner.execute("DELETE FROM auth.users WHERE lower(email) = lower($1)", email)
        user = await users.create(email, PASSWORD, scopes=scopes)
        if id_ is not None:
            await owner.execute("DELETE FROM auth.users WHERE id = $1::uuid", id_)
            await owner.execute(
                "UPDATE auth.users SET id = $2::uuid WHERE id = $1::uuid", user, id_
            )
        return Person(await logins(**options), email)

    return made


@pytest.fixture
async def person(people: Callable[..., Awaitable[Person]]) -> Person:
    return await people()


@pytest.fixture
async def assistant(logins: Callable[..., Any]) -> Assistant:
    """A client that registered itself."""
    made = Assistant(await logins())
    assert (await made.register()).status_code == 201
    return made
