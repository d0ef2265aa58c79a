"""What was verified a moment ago vouches for the very same credential, and for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth import token
from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import Credential
from fluxbase.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.app.backend import Backend
    from tests.world import Caller

HERE = "192.0.2.7"


@pytest.fixture
def door(backend: Backend) -> Authenticator:
    return Authenticator(
        backend.database, backend.peppers, live=5, jwt=backend.config.auth.jwt, verifier=None
    )


async def admits(door: Authenticator, credential: Credential, remote: str = HERE) -> bool:
    try:
        await door.authenticate(credential, remote)
    except Unauthenticated:
        return False
    return True


def bearer(caller: Caller) -> Credential:
    return Credential("bearer", caller.key)


async def test_a_remembered_credential_is_not_verified_again_until_its_key_is_forgotten(
    door: Authenticator, issue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await issue()
    assert await admits(door, bearer(key))
    asked: list[token.Token] = []

    def refuse(_pepper: bytes, parsed: token.Token, _stored: bytes | None) -> bool:
        asked.append(parsed)
        return False

    monkeypatch.setattr(token, "matches", refuse)
    assert await admits(door, bearer(key))
    assert not asked
    door.forget(key.id)
    assert not await admits(door, bearer(key))
    assert asked


async def test_a_remembered_credential_opens_to_no_other_secret_of_its_key(
    door: Authenticator, issue: Callable[..., Any]
) -> None:
    key = await issue()
    parsed = token.parse(key.key)
    assert parsed is not None
    other = token.Token(parsed.kind, parsed.id, token.new(parsed.kind).secret).text
    for text in (other, key.key[:-1], key.key + "x", key.key[:12], key.key.upper()):
        assert await admits(door, bearer(key))
        assert not await admits(door, Credential("bearer", text)), text


async def test_a_remembered_credential_is_refused_in_a_header_that_is_not_its_own(
    door: Authenticator, issue: Callable[..., Any]
) -> None:
    key = await issue()
    assert await admits(door, bearer(key))
    assert not await admits(door, Credential("x-service-key", key.key))
    assert await admits(door, Credential("x-client-key", key.key))


async def test_a_key_bound_to_networks_is_asked_for_its_address_every_time(
    door: Authenticator, issue: Callable[..., Any]
) -> None:
    key = await issue(allowed_cidrs=("192.0.2.0/24",))
    for _ in range(2):
        assert await admits(door, bearer(key), HERE)
        assert not await admits(door, bearer(key), "198.51.100.1")
