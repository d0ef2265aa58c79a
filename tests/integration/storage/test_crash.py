"""Whoever is killed on the way leaves no row without bytes, and no bytes without a row."""

from __future__ import annotations

import asyncio
import signal
import sys
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg as driver
import pytest

from fluxbase.storage.blobs import Blobs
from tests.integration.storage.crash import SIZE, STEPS
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg

    from fluxbase.app.backend import Backend
    from tests.integration.storage.conftest import Filer

NEW = sha256(b"".join(bytes([n]) * 65_536 for n in range(SIZE // 65_536))).hexdigest()
CASES = [(deed, step) for deed, steps in STEPS.items() for step in steps]
# From these on the deed is done, whether anybody heard of it or not.
DONE = {("put", "after commit"), ("delete", "after commit")}


async def crashed(home: Path, key: str, deed: str, step: str) -> int:
    module = "tests.integration.storage.crash"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(home), key, deed, step, cwd=ROOT
    )
    return await asyncio.wait_for(process.wait(), 60)


async def assert_whole(backend: Backend, owner: asyncpg.Connection[asyncpg.Record]) -> set[str]:
    """See that the bytes of every row are there; return the rows' blobs."""
    rows = await owner.fetch("SELECT blob::text, size, etag FROM storage.objects")
    for row in rows:
        data = b"".join([piece async for piece in backend.store.get(row["blob"])])
        assert len(data) == row["size"]
        assert sha256(data).hexdigest() == row["etag"]
    return {row["blob"] for row in rows}


@pytest.mark.parametrize(("deed", "step"), CASES)
@pytest.mark.parametrize("before", [False, True])
async def test_killed_at_a_step(
    one: Filer,
    backend: Backend,
    owner: asyncpg.Connection[asyncpg.Record],
    home: Path,
    deed: str,
    step: str,
    before: bool,
) -> None:
    if before or deed == "delete":
        await one.call("upload_object", bucket="files", key="crash", content="before")
    assert await crashed(home, one.key, deed, step) == -signal.SIGKILL
    blobs = await assert_whole(backend, owner)
    etag = await owner.fetchval("SELECT etag FROM storage.objects WHERE name = 'crash'")
    if (deed, step) in DONE:
        assert etag == (NEW if deed == "put" else None)
    else:
        was = before or deed == "delete"
        assert etag == (sha256(b"before").hexdigest() if was else None)
    await owner.execute(
        "UPDATE storage.blobs SET expires_at = now() - interval '1 second' WHERE state = 'pending'"
    )
    await Blobs(backend.database, backend.store).sweep(grace=-1)
    assert {blob async for blob in backend.store.blobs()} == blobs
    assert await assert_whole(backend, owner) == blobs
    assert list((home / "storage" / "incoming").iterdir()) == []
    assert await owner.fetchval("SELECT count(*) FROM storage.blobs") == len(blobs)


async def test_without_a_kill_the_program_does_what_it_should(
    one: Filer, owner: asyncpg.Connection[asyncpg.Record], home: Path
) -> None:
    assert await crashed(home, one.key, "put", "nowhere") == 0
    assert await owner.fetchval("SELECT etag FROM storage.objects") == NEW


async def test_what_is_being_written_is_left_alone(
    one: Filer, backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    blobs = Blobs(backend.database, backend.store)
    blob = await blobs.begin()

    async def slow() -> AsyncGenerator[bytes]:
        yield b"first"
        assert await blobs.sweep(grace=-1) == 0
        yield b"second"

    await blobs.write(blob, slow())
    assert await backend.store.size(blob) == 11
    await blobs.give_up(blob)
    # Somebody may have found it a moment ago and be about to read it.
    assert await blobs.sweep() == 0
    assert await blobs.sweep(grace=-1) == 1
    assert await backend.store.size(blob) is None


async def test_a_client_s_own_sql_cannot_take_the_bytes_of_another(
    one: Filer, backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await one.call("upload_object", bucket="shared", key="open", content="x")
    blob = await owner.fetchval("SELECT blob FROM storage.objects")
    role = await owner.fetchval("SELECT role_name FROM auth.api_keys WHERE name = 'files of two'")
    stolen = "INSERT INTO storage.objects (bucket_id, name, blob) VALUES ('files', 'stolen', $1)"
    conn = await driver.connect(backend.database.logins.client)
    try:
        await conn.execute(f"SET ROLE {role}; SET default_transaction_read_only = off")
        assert await conn.fetchval("SELECT count(*) FROM storage.objects") == 1
        with pytest.raises(driver.InsufficientPrivilegeError):
            await conn.execute(stolen, blob)
        for text in (
            "INSERT INTO storage.objects (bucket_id, name, size) VALUES ('files', 'x', 1)",
            "UPDATE storage.objects SET etag = 'x'",
            "UPDATE storage.objects SET owner_id = auth.uid()",
            "UPDATE storage.blobs SET state = 'pending'",
            "SELECT * FROM storage.blobs",
            "SELECT * FROM storage.uploads",
            "SELECT storage.attach_blob()",
            "TRUNCATE storage.objects",
            "INSERT INTO storage.buckets (id) VALUES ('new-bucket')",
            "UPDATE storage.buckets SET public = true",
        ):
            with pytest.raises(driver.InsufficientPrivilegeError):
                await conn.execute(text)
    finally:
        await conn.close()
