"""Servers with tools that talk, reached over sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.app.rooms import ROOMS
from fluxbase.app.server import Server
from tests.conftest import config_for
from tests.integration.mcp import room
from tests.integration.mcp.live import Client, listening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    import httpx2

    from fluxbase.app.backend import Backend


@pytest.fixture
def talking(backend: Backend, home: Path) -> Callable[..., Any]:
    """Open a server with the tools of `room` on a socket: `talking(mcp={...})`."""

    @asynccontextmanager
    async def serve(**sections: Mapping[str, Any]) -> AsyncGenerator[httpx2.AsyncClient]:
        config = config_for(home, **sections)
        server = Server(replace(backend, config=config, postgres=None), rooms=(*ROOMS, room))
        async with server.running(), listening(server) as client:
            yield client

    return serve


@pytest.fixture
async def live(talking: Callable[..., Any]) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of a server with the tools of `room`."""
    async with talking() as client:
        yield client


@pytest.fixture
def client(live: httpx2.AsyncClient, keys: dict[str, tuple[str, str]]) -> Client:
    """A client with the key of user1 and no session yet."""
    return Client(live, keys["user1"][1])


@pytest.fixture
def stranger(live: httpx2.AsyncClient, keys: dict[str, tuple[str, str]]) -> Client:
    """A client with another key."""
    return Client(live, keys["user2"][1])
