"""Sessions belong to a key, end when they are left alone, and are the same on every server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from tests.integration.mcp.live import Client, until
from tests.world import TABLES, USER1

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend

Keys = dict[str, tuple[str, str]]


async def status(client: Client) -> int:
    return (await client.post("ping")).status_code


async def test_a_client_that_initializes_gets_a_session(client: Client) -> None:
    answer = await client.initialize()
    assert answer.status_code == 200
    assert client.session is not None
    assert len(client.session) >= 32
    assert await status(client) == 200
    first = client.session
    await client.initialize()
    assert client.session != first


async def test_a_session_of_another_key_is_404(client: Client, stranger: Client) -> None:
    await client.initialize()
    stranger.session = client.session
    assert await status(stranger) == 404
    assert (await stranger.end()).status_code == 404
    async with stranger.http.stream("GET", "/mcp", headers=stranger.headers) as answer:
        assert answer.status_code == 404
    assert await status(client) == 200


@pytest.mark.parametrize("made_up", ["x", "a" * 200, "a b", "'; --"])
async def test_a_session_that_never_was_is_404(client: Client, made_up: str) -> None:
    client.session = made_up
    assert await status(client) == 404


async def test_a_session_that_was_ended_is_gone(client: Client) -> None:
    await client.initialize()
    assert (await client.end()).status_code == 204
    assert await status(client) == 404
    assert (await client.end()).status_code == 404


async def test_the_end_of_a_session_ends_its_stream(client: Client) -> None:
    await client.initialize()
    async with client.listen() as stream:
        first = await stream.event()
        assert first is not None
        assert first.data == ""
        await client.end()
        assert await stream.event() is None


async def test_idle_sessions_end_and_used_ones_do_not(
    talking: Callable[..., Any], keys: Keys
) -> None:
    async with talking(mcp={"session_timeout": 1.2}) as http:
        idle, used = Client(http, keys["user1"][1]), Client(http, keys["user1"][1])
        await idle.initialize()
        await used.initialize()
        for _ in range(6):
            await asyncio.sleep(0.3)
            assert await status(used) == 200
        assert await status(idle) == 404


async def test_a_session_with_an_open_stream_is_not_idle(
    talking: Callable[..., Any], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.sessions.hub._BEAT", 0.2)
    async with talking(mcp={"session_timeout": 1.2}) as http:
        client = Client(http, keys["user1"][1])
        await client.initialize()
        async with client.listen():
            await asyncio.sleep(2)
            assert await status(client) == 200


async def test_the_next_session_over_a_keys_cap_is_503_until_one_ends(
    talking: Callable[..., Any], backend: Backend, keys: Keys
) -> None:
    made = await backend.keys.create("client_key", NewKey("cap", TABLES, user_id=USER1))
    async with talking(mcp={"max_sessions_per_key": 3, "session_timeout": 1.5}) as http:
        clients = [Client(http, made.key) for _ in range(4)]
        for client in clients[:3]:
            assert (await client.initialize()).status_code == 200
        refused = await clients[3].initialize()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["data"]["code"] == "FLX504"
        assert clients[3].session is None
        # Somebody else is not concerned, nor are calls without a session.
        assert (await Client(http, keys["user2"][1]).initialize()).status_code == 200
        assert await status(clients[3]) == 200
        await clients[0].end()
        assert (await clients[3].initialize()).status_code == 200
        late = Client(http, made.key)
        assert (await late.initialize()).status_code == 503
        await asyncio.sleep(1.6)
        assert (await late.initialize()).status_code == 200


async def test_no_more_sessions_are_opened_than_all_may_have(
    talking: Callable[..., Any], owner: asyncpg.Connection[asyncpg.Record], keys: Keys
) -> None:
    await owner.execute("DELETE FROM platform.mcp_sessions")
    async with talking(mcp={"max_sessions": 2}) as http:
        answers = [
            (await Client(http, keys[name][1]).initialize()).status_code
            for name in ("user1", "user2", "reader")
        ]
    assert answers == [200, 200, 503]


async def test_many_at_once_never_get_more_than_the_cap(
    talking: Callable[..., Any], backend: Backend
) -> None:
    made = await backend.keys.create("client_key", NewKey("race", TABLES, user_id=USER1))
    async with talking(mcp={"max_sessions_per_key": 5}) as http:
        clients = [Client(http, made.key) for _ in range(20)]
        answers = await asyncio.gather(*(c.initialize() for c in clients))
    assert sorted(a.status_code for a in answers) == [200] * 5 + [503] * 15


async def test_a_session_that_nobody_came_back_to_is_given_up(
    client: Client, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await client.initialize()
    await owner.execute(
        "UPDATE platform.mcp_sessions SET created_at = now() - interval '6 minutes' WHERE id = $1",
        client.session,
    )
    assert await status(client) == 404


async def test_a_session_is_known_to_another_server_and_after_a_restart(
    talking: Callable[..., Any], keys: Keys
) -> None:
    async with talking() as first:
        client = Client(first, keys["user1"][1])
        await client.initialize()
        async with talking() as second:
            client.http = second
            assert await status(client) == 200
            assert (await client.post("logging/setLevel", level="info")).status_code == 200
            client.http = first
            assert await status(client) == 200
    async with talking() as third:
        client.http = third
        assert await status(client) == 200
        await client.end()


async def test_a_session_that_ended_on_one_server_is_over_on_the_other(
    talking: Callable[..., Any], keys: Keys
) -> None:
    async with talking() as first, talking() as second:
        client = Client(first, keys["user1"][1])
        await client.initialize()
        assert await status(client) == 200
        elsewhere = Client(second, client.key, session=client.session)
        assert await status(elsewhere) == 200
        await elsewhere.end()
        await until(lambda: status(client), 404)


async def test_the_sessions_of_a_revoked_key_are_swept_away(
    talking: Callable[..., Any],
    backend: Backend,
    owner: asyncpg.Connection[asyncpg.Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fluxbase.app.lines._SWEEP", 0.1)
    made = await backend.keys.create("client_key", NewKey("swept", TABLES, user_id=USER1))
    async with talking() as http:
        client = Client(http, made.key)
        await client.initialize()
        await backend.keys.revoke("client_key", made.id)
        count = "SELECT count(*) FROM platform.mcp_sessions WHERE principal = $1"
        await until(lambda: owner.fetchval(count, made.id), 0)
