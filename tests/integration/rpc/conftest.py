"""Keys that may call procedures, of two tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from tests.world import USER1, USER2, Caller, Refused

if TYPE_CHECKING:
    import httpx2

    from fluxbase.app.backend import Backend


@pytest.fixture(scope="session")
async def rpc_keys(backend: Backend) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for name, user, read_only in (
        ("one", USER1, False),
        ("two", USER2, False),
        ("reader", USER1, True),
    ):
        new = NewKey(f"rpc of {name}", ("execute:rpc",), user_id=user, read_only=read_only)
        issued = await backend.keys.create("client_key", new)
        made[name] = (issued.id, issued.key)
    return made


def calling(rpc_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient) -> dict[str, Caller]:
    """Return the callers of a server by name."""
    return {name: Caller(name, id_, key, http) for name, (id_, key) in rpc_keys.items()}


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    """Return how a call was refused."""
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value
