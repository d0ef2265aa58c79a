"""Users with a token of an identity provider are callers too, under a role the server chose."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from jose import jwt

from fluxbase.app.server import Server
from tests.conftest import config_for
from tests.world import USER1, USER2, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from asyncpg import Connection, Record

    from fluxbase.app.backend import Backend

SECRET = "a secret of more than thirty-two bytes, made for tests"
ISSUER = "https://id.example.com"


def token(**changes: Any) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": USER1,
        "role": "authenticated",
        "iss": ISSUER,
        "aud": "fluxbase",
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, "HS256")


@pytest.fixture
async def http(backend: Backend, home: Path, rows: None) -> AsyncGenerator[httpx2.AsyncClient]:
    config = config_for(
        home,
        auth={
            "jwt": {
                "secret": SECRET,
                "issuer": ISSUER,
                "audience": ["fluxbase"],
                "role_map": {"authenticated": "authenticated", "guest": "anon"},
            }
        },
    )
    async with Server(replace(backend, config=config, postgres=None)).running() as server:
        transport = httpx2.ASGITransport(app=server, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


class Bearer(Caller):
    """A caller with a token."""

    async def post(self, body: Any, **headers: str) -> httpx2.Response:
        """Send one body with the token as the only credential."""
        return await self.http.post(
            self.path, json=body, headers={"Authorization": f"Bearer {self.key}", **headers}
        )


async def test_a_users_token_sees_the_users_rows(http: httpx2.AsyncClient) -> None:
    first = Bearer("first", "", token(), http)
    second = Bearer("second", "", token(sub=USER2), http)
    assert await first.call("count_records", table="notes") == {"count": 10}
    assert await second.call("count_records", table="notes") == {"count": 7}
    await first.call("insert_record", table="notes", data={"title": "by token"})
    assert (await first.rows("notes", filter={"title": "eq.by token"}))[0]["user_id"] == USER1
    assert await second.rows("notes", filter={"title": "eq.by token"}) == []


async def test_callers_in_turn_never_meet_each_others_claims(http: httpx2.AsyncClient) -> None:
    people = [Bearer(str(n), "", token(sub=[USER1, USER2][n % 2], n=n), http) for n in range(12)]
    for _ in range(3):
        counts = [(await p.call("count_records", table="notes"))["count"] for p in people]
        assert counts == [10, 7] * 6


async def test_a_role_is_chosen_by_the_server(http: httpx2.AsyncClient) -> None:
    guest = Bearer("guest", "", token(role="guest"), http)
    assert await guest.rows("news", limit=1)
    with pytest.raises(Refused) as refused:
        await guest.rows("notes")
    assert refused.value.code == "FLX201"


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "service_role"},
        {"role": "postgres"},
        {"role": None},
        {"role": ["authenticated"]},
        {"iss": "https://other.example.com"},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"exp": int(time.time()) + 86400},
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(
    http: httpx2.AsyncClient, changes: dict[str, Any]
) -> None:
    answer = await Bearer("x", "", token(**changes), http).post({})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fluxbase"'


async def test_a_subject_that_is_no_uuid_is_nobody(
    http: httpx2.AsyncClient, owner: Connection[Record]
) -> None:
    odd = Bearer("odd", "", token(sub="auth0|5f7c"), http)
    assert await odd.call("count_records", table="notes") == {"count": 0}


async def test_keys_go_as_bearer_too(
    http: httpx2.AsyncClient, keys: dict[str, tuple[str, str]]
) -> None:
    caller = Bearer("user1", "", keys["user1"][1], http)
    assert await caller.call("count_records", table="notes") == {"count": 10}


async def test_without_keys_configured_no_token_is_accepted(server: Server) -> None:
    transport = httpx2.ASGITransport(app=server, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await Bearer("x", "", token(), client).post({})
    assert answer.status_code == 401
