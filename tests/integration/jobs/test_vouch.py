"""Whoever submitted a job is looked up again when it runs: users and what they let clients do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
import pytest

from fluxbase.app.desk import ADMINISTRATOR
from fluxbase.app.vouch import Voucher
from fluxbase.errors import Unauthenticated
from fluxbase.jobs.identity import kept, restored
from fluxbase.principal import Principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.app.server import Server

    Owner = asyncpg.Connection[asyncpg.Record]

GRANTED = """
WITH u AS (
  INSERT INTO auth.users (id, email, password_hash, scopes)
  VALUES ($1::uuid, 'jobs@example.com', 'x', '{execute:jobs,read:tables,write:tables}') RETURNING id
)
INSERT INTO auth.oauth_grants (user_id, client_id, client_name, client_host, scopes, resource)
SELECT id, 'assistant', 'Assistant', 'example.com', '{execute:jobs,read:tables}', 'x' FROM u
"""


@pytest.fixture
async def user(owner: Owner) -> AsyncGenerator[Principal]:
    id_ = str(uuid4())
    await owner.execute(GRANTED, id_)
    claims = {"sub": id_, "role": "authenticated", "email": "old@example.com"}
    yield Principal(
        kind="user",
        id=f"user:{id_}",
        name="old@example.com",
        role="authenticated",
        claims=orjson.dumps(claims).decode(),
        scopes=frozenset({"execute:jobs", "read:tables"}),
        user_id=id_,
        client_id="assistant",
        settings=(("work_mem", "8MB"),),
    )
    await owner.execute("DELETE FROM auth.users WHERE id = $1::uuid", id_)


@pytest.fixture
def voucher(backend: Backend, server: Server) -> Voucher:
    return Voucher(backend.database, server.authenticator)


async def test_a_user_is_who_it_is_by_now(user: Principal, voucher: Voucher, owner: Owner) -> None:
    now = await voucher.vouch(user)
    assert (now.name, now.scopes, now.owner) == ("jobs@example.com", user.scopes, user.owner)
    assert orjson.loads(now.claims)["email"] == "jobs@example.com"
    await owner.execute("UPDATE auth.oauth_grants SET scopes = '{execute:jobs}'")
    assert (await voucher.vouch(user)).scopes == {"execute:jobs"}
    await owner.execute("UPDATE auth.users SET scopes = '{read:tables}'")
    assert (await voucher.vouch(user)).scopes == frozenset()


@pytest.mark.parametrize(
    "ended",
    [
        "UPDATE auth.oauth_grants SET revoked_at = now()",
        "UPDATE auth.users SET disabled_at = now()",
        "UPDATE auth.oauth_grants SET client_id = 'another'",
        "DELETE FROM auth.users WHERE email = 'jobs@example.com'",
    ],
)
async def test_a_grant_that_ended_ends_what_runs_under_it(
    user: Principal, voucher: Voucher, owner: Owner, ended: str
) -> None:
    await owner.execute(ended)
    with pytest.raises(Unauthenticated):
        await voucher.vouch(user)


async def test_nobody_becomes_the_administrator_by_its_name(voucher: Voucher) -> None:
    assert await voucher.vouch(ADMINISTRATOR) is ADMINISTRATOR
    pretended = Principal("service_key", "cli", "x", "service_role", "{}", frozenset({"*"}))
    with pytest.raises(Unauthenticated):
        await voucher.vouch(pretended)


async def test_a_caller_is_kept_whole(user: Principal) -> None:
    assert restored(kept(user)) == user
    assert restored(kept(ADMINISTRATOR)) == ADMINISTRATOR
