"""Callers as the database sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import Credential

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from fluxbase.principal import Principal
    from tests.world import Caller


@pytest.fixture
async def people(backend: Backend, user1: Caller, user2: Caller) -> list[Principal]:
    """Two of them."""
    gate = Authenticator(
        backend.database, backend.peppers, live=5, jwt=backend.config.auth.jwt, verifier=None
    )
    return [
        await gate.authenticate(Credential(text=c.key, source="x-client-key"), None)
        for c in (user1, user2)
    ]
