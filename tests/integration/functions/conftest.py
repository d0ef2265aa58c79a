"""Callers of functions, and functions that are gone when a test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.keys import NewKey
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

SCOPES: Final = ("execute:functions", "read:tables", "write:tables")


@pytest.fixture(scope="package")
async def function_keys(backend: Backend) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for name, new in {
        "one": NewKey("functions one", SCOPES, user_id=USER1),
        "two": NewKey("functions two", SCOPES, user_id=USER2),
        "narrow": NewKey("functions narrow", ("execute:functions",), user_id=USER1),
        "reader": NewKey("functions reader", SCOPES, user_id=USER1, read_only=True),
        "nobody": NewKey("functions nobody", SCOPES),
    }.items():
        issued = await backend.keys.create("client_key", new)
        made[name] = (issued.id, issued.key)
    issued = await backend.keys.create("service_key", NewKey("functions", ("*",)))
    made["admin"] = (issued.id, issued.key)
    return made


@pytest.fixture
async def one(http: httpx2.AsyncClient, function_keys: dict[str, tuple[str, str]]) -> Caller:
    return Caller("one", *function_keys["one"], http)


@pytest.fixture
async def two(http: httpx2.AsyncClient, function_keys: dict[str, tuple[str, str]]) -> Caller:
    return Caller("two", *function_keys["two"], http)


@pytest.fixture
async def narrow(http: httpx2.AsyncClient, function_keys: dict[str, tuple[str, str]]) -> Caller:
    return Caller("narrow", *function_keys["narrow"], http)


@pytest.fixture
async def reader(http: httpx2.AsyncClient, function_keys: dict[str, tuple[str, str]]) -> Caller:
    return Caller("reader", *function_keys["reader"], http)


@pytest.fixture
async def nobody(http: httpx2.AsyncClient, function_keys: dict[str, tuple[str, str]]) -> Caller:
    return Caller("nobody", *function_keys["nobody"], http)


@pytest.fixture
async def admin(
    http: httpx2.AsyncClient,
    function_keys: dict[str, tuple[str, str]],
    owner: Owner,
    backend: Backend,
    rows: None,
) -> AsyncGenerator[Caller]:
    yield Caller("admin", *function_keys["admin"], http)
    await owner.execute("DELETE FROM functions.functions; DELETE FROM functions.executions")
    backend.functions.hear()


async def deploy(admin: Caller, name: str, code: str, **rules: Any) -> dict[str, Any]:
    """Deploy a function that authenticated callers may invoke, unless the rules say otherwise."""
    if not rules.get("public"):
        rules.setdefault("required_roles", ["authenticated"])
    return await admin.call("deploy_function", name=name, code=code, **rules)
