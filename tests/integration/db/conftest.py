"""Callers as the database sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import Credential
from fluxbase.db import batcher
from fluxbase.db.batch import Batch
from tests.integration.db.together import Reader
from tests.integration.reliability.stand import superuser_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.app.backend import Backend
    from fluxbase.principal import Principal
    from tests.integration.db.together import Owner
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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every read that was asked before count as a quick one, on any machine."""
    monkeypatch.setattr(batcher, "_LONGEST", 60.0)
    monkeypatch.setattr(batcher, "_BARRED", 10.0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each batch."""
    seen: list[list[str]] = []
    send = Batch.send

    def noted(batch: Batch) -> None:
        seen.append([read.text for read in batch.reads])
        send(batch)

    monkeypatch.setattr(Batch, "send", noted)
    return seen


@pytest.fixture
async def overseer(backend: Backend) -> AsyncGenerator[Owner]:
    """A connection that sees what others run."""
    conn = await asyncpg.connect(superuser_url(backend, "postgres"))
    yield conn
    await conn.close()


@pytest.fixture
def reader(backend: Backend, people: list[Principal]) -> Reader:
    return Reader(backend, people[0])
