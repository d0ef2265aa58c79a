"""Callers with the scopes of free SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbase.auth.keys import NewKey
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    import httpx2

    from fluxbase.app.backend import Backend

READ = ("execute:sql",)
BOTH = (*READ, "execute:sql_write")
KEYS = {
    "one": NewKey("sql of one", BOTH, user_id=USER1),
    "two": NewKey("sql of two", BOTH, user_id=USER2),
    "reader": NewKey("sql reads", READ, user_id=USER1),
    "read_only": NewKey("sql read only", BOTH, user_id=USER1, read_only=True),
    "narrow": NewKey("sql narrow", READ, user_id=USER1, allowed_tables=("news",)),
}


@pytest.fixture(scope="session")
async def sql_keys(backend: Backend) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for name, new in KEYS.items():
        issued = await backend.keys.create("client_key", new)
        made[name] = (issued.id, issued.key)
    service = await backend.keys.create("service_key", NewKey("sql service"))
    made["service"] = (service.id, service.key)
    return made


@pytest.fixture
async def askers(
    http: httpx2.AsyncClient, sql_keys: dict[str, tuple[str, str]], rows: None
) -> dict[str, Caller]:
    return {name: Caller(name, id_, key, http) for name, (id_, key) in sql_keys.items()}


@pytest.fixture
def one(askers: dict[str, Caller]) -> Caller:
    return askers["one"]


@pytest.fixture
def two(askers: dict[str, Caller]) -> Caller:
    return askers["two"]
