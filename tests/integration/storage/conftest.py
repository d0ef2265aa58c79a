"""Callers with the scopes of storage, and buckets of several kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.storage.blobs import Blobs
from tests.world import USER1, USER2, Caller

if TYPE_CHECKING:
    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

SCOPES = ("read:storage", "write:storage")
BUCKETS = """
INSERT INTO storage.buckets (id, public, max_file_size, allowed_mime_types, versioning) VALUES
  ('files', false, NULL, '{}', false), ('shared', true, NULL, '{}', false),
  ('small', false, 100, '{}', false), ('images', false, NULL, '{image/*}', false),
  ('kept', false, NULL, '{}', true)
ON CONFLICT DO NOTHING
"""


@dataclass
class Filer(Caller):
    """A caller that also comes by plain HTTP."""

    async def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        kind = "X-Service-Key" if self.key.startswith("fbs_") else "X-Client-Key"
        headers = {kind: self.key, **options.pop("headers", {})}
        return await self.http.request(
            method, f"/api/v1/storage/{path}", headers=headers, **options
        )


@pytest.fixture
async def buckets(owner: asyncpg.Connection[asyncpg.Record], backend: Backend) -> None:
    """Every bucket, with nothing in any."""
    await owner.execute(BUCKETS)
    await owner.execute("DELETE FROM storage.objects; DELETE FROM storage.versions")
    past = "now() - interval '1 second'"
    await owner.execute(f"UPDATE storage.uploads SET expires_at = {past}")
    await owner.execute(f"UPDATE storage.blobs SET expires_at = {past} WHERE state = 'pending'")
    await Blobs(backend.database, backend.store).sweep(grace=-1)


@pytest.fixture(scope="session")
async def filing_keys(backend: Backend) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, user in (("one", USER1), ("two", USER2), ("nobody", None)):
        new = NewKey(f"files of {name}", SCOPES, user_id=user)
        made[name] = (await backend.keys.create("client_key", new)).key
    reader = NewKey("reads files", ("read:storage",), user_id=USER1)
    made["reader"] = (await backend.keys.create("client_key", reader)).key
    stranger = NewKey("no files", ("read:tables",), user_id=USER1)
    made["stranger"] = (await backend.keys.create("client_key", stranger)).key
    made["admin"] = (await backend.keys.create("service_key", NewKey("admin", ("*",)))).key
    return made


@pytest.fixture
async def filers(
    http: httpx2.AsyncClient, filing_keys: dict[str, str], buckets: None
) -> dict[str, Filer]:
    return {name: Filer(name, "", key, http) for name, key in filing_keys.items()}


@pytest.fixture
def one(filers: dict[str, Filer]) -> Filer:
    return filers["one"]


@pytest.fixture
def two(filers: dict[str, Filer]) -> Filer:
    return filers["two"]


@pytest.fixture
def admin(filers: dict[str, Filer]) -> Filer:
    return filers["admin"]
