"""Uploads in several requests go on where they were cut, for their owner alone."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.storage.blobs import Blobs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend
    from tests.integration.storage.conftest import Filer

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 100


def said(**metadata: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in metadata.items())


async def begin(caller: Filer, size: int, key: str = "big", **more: str) -> httpx2.Response:
    metadata = said(bucketName="files", objectName=key, contentType="video/mp4")
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata, **more}
    return await caller.send("POST", "upload/resumable", headers=headers)


async def begun(caller: Filer, size: int = len(DATA), key: str = "big") -> str:
    answer = await begin(caller, size, key)
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.headers["location"].removeprefix("/api/v1/storage/")


async def add(caller: Filer, path: str, offset: int, data: bytes) -> httpx2.Response:
    headers = {**BYTES, "Upload-Offset": str(offset)}
    return await caller.send("PATCH", path, headers=headers, content=data)


async def offset(caller: Filer, path: str) -> int:
    answer = await caller.send("HEAD", path, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def test_a_file_comes_in_parts(one: Filer) -> None:
    path = await begun(one)
    assert await offset(one, path) == 0
    for start in range(0, len(DATA), 7000):
        answer = await add(one, path, start, DATA[start : start + 7000])
        assert answer.status_code == 204
        assert int(answer.headers["upload-offset"]) == min(start + 7000, len(DATA))
        assert "upload-expires" in answer.headers
    got = await one.send("GET", "files/big")
    assert (got.content, got.headers["content-type"]) == (DATA, "video/mp4")
    assert (await one.send("HEAD", path, headers=TUS)).status_code == 404


async def test_what_a_client_may_know_is_told_without_a_key(http: httpx2.AsyncClient) -> None:
    answer = await http.options("/api/v1/storage/upload/resumable")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert "creation-with-upload" in answer.headers["tus-extension"]
    assert answer.headers["tus-max-size"] == str(2 * 1024**3)


async def test_a_small_file_comes_with_its_beginning(one: Filer) -> None:
    metadata = said(bucketName="files", objectName="small", metadata='{"a": 1}')
    headers = {**BYTES, "Upload-Length": "5", "Upload-Metadata": metadata}
    answer = await one.send("POST", "upload/resumable", headers=headers, content=b"words")
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "5")
    assert (await one.send("GET", "files/small")).content == b"words"
    info = await one.call("get_object_info", bucket="files", key="small")
    assert info["metadata"] == {"a": 1}


async def test_an_empty_file_needs_no_part(one: Filer) -> None:
    assert (await begin(one, 0, "none")).status_code == 201
    assert (await one.send("GET", "files/none")).content == b""


@pytest.mark.parametrize("wrong", [1, 99, 10**6])
async def test_bytes_that_are_not_the_next_ones_are_refused(one: Filer, wrong: int) -> None:
    path = await begun(one)
    await add(one, path, 0, DATA[:100])
    assert (await add(one, path, wrong, b"x")).status_code == 409
    assert await offset(one, path) == 100


async def test_more_than_was_announced_is_refused(one: Filer) -> None:
    path = await begun(one, 10)
    assert (await add(one, path, 0, b"x" * 11)).status_code == 413
    assert await offset(one, path) == 0
    assert (await add(one, path, 0, b"x" * 10)).status_code == 204


async def test_an_upload_is_its_owner_s_alone(one: Filer, two: Filer, filers: Any) -> None:
    path = await begun(one)
    for caller in (two, filers["admin"]):
        assert (await caller.send("HEAD", path, headers=TUS)).status_code == 404
        assert (await add(caller, path, 0, b"x")).status_code == 404
        assert (await caller.send("DELETE", path, headers=TUS)).status_code == 404
    assert (await begin(filers["reader"], 1)).status_code == 403
    assert (await one.http.post("/api/v1/storage/upload/resumable", headers=TUS)).status_code == 401


async def test_who_may_not_write_there_is_told_before_a_byte(one: Filer, two: Filer) -> None:
    await one.call("upload_object", bucket="files", key="mine", content="x")
    assert (await begin(two, 5, "mine")).status_code == 403
    assert (await begin(one, 5, "../x")).status_code == 400
    metadata = said(bucketName="images", objectName="x", contentType="text/html")
    headers = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata}
    assert (await one.send("POST", "upload/resumable", headers=headers)).status_code == 400
    too_large = {**TUS, "Upload-Length": str(2 * 1024**3 + 1), "Upload-Metadata": metadata}
    assert (await one.send("POST", "upload/resumable", headers=too_large)).status_code == 413


async def test_an_upload_is_given_up(one: Filer, backend: Backend) -> None:
    path = await begun(one)
    await add(one, path, 0, DATA[:100])
    assert (await one.send("DELETE", path, headers=TUS)).status_code == 204
    assert (await one.send("HEAD", path, headers=TUS)).status_code == 404
    await Blobs(backend.database, backend.store).sweep(grace=-1)
    assert [blob async for blob in backend.store.blobs()] == []


async def test_an_upload_that_is_not_finished_in_time_is_forgotten(
    one: Filer, backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    path = await begun(one)
    await add(one, path, 0, DATA[:100])
    await owner.execute("UPDATE storage.uploads SET expires_at = now() - interval '1 second'")
    assert (await add(one, path, 100, b"x")).status_code == 404
    await Blobs(backend.database, backend.store).sweep(grace=-1)
    assert [blob async for blob in backend.store.blobs()] == []
    assert await owner.fetchval("SELECT count(*) FROM storage.uploads") == 0
    assert await owner.fetchval("SELECT count(*) FROM storage.blobs") == 0


async def test_a_key_has_only_so_many_uploads_open(one: Filer, serving: Callable[..., Any]) -> None:
    async with serving(storage={"max_uploads_per_key": 2}) as http:
        one.http = http
        first = await begun(one, key="1")
        await begun(one, key="2")
        assert (await begin(one, 5, "3")).status_code == 429
        await one.send("DELETE", first, headers=TUS)
        assert (await begin(one, 5, "3")).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412),
        ({"Upload-Length": "5"}, 412),
        ({**TUS}, 400),
        ({**TUS, "Upload-Length": "-5"}, 400),
        ({**TUS, "Upload-Length": "five"}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": "bucketName ?"}, 400),
        ({**TUS, "Upload-Length": "5"}, 400),
    ],
)
async def test_what_is_no_upload_is_refused(
    one: Filer, headers: dict[str, str], status: int
) -> None:
    answer = await one.send("POST", "upload/resumable", headers=headers)
    assert answer.status_code == status
    assert answer.headers["tus-resumable"] == "1.0.0"


async def test_other_methods_and_types_are_refused(one: Filer) -> None:
    path = await begun(one)
    assert (await one.send("PUT", "upload/resumable", headers=TUS)).status_code == 405
    assert (await one.send("POST", path, headers=TUS)).status_code == 405
    plain = {**TUS, "Content-Type": "text/plain", "Upload-Offset": "0"}
    assert (await one.send("PATCH", path, headers=plain, content=b"x")).status_code == 415
    assert (await one.send("PATCH", path, headers=BYTES, content=b"x")).status_code == 400
    assert (await one.send("HEAD", "upload/resumable/nonsense", headers=TUS)).status_code == 404
    hidden = {**BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await one.send("POST", path, headers=hidden, content=b"x")).status_code == 204


async def test_a_part_written_but_not_counted_does_not_come_twice(
    one: Filer, backend: Backend, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    path = await begun(one, 10)
    await add(one, path, 0, b"01234")
    # As if the server had died after it wrote these bytes and before it counted them.
    blobs = Blobs(backend.database, backend.store)
    upload = path.rpartition("/")[2]

    async def lost() -> AsyncGenerator[bytes]:
        yield b"56789"

    await blobs.write(await blobs.begin(upload), lost())
    assert await offset(one, path) == 5
    assert (await add(one, path, 5, b"56789")).status_code == 204
    assert (await one.send("GET", "files/big")).content == b"0123456789"
    await owner.execute(
        "UPDATE storage.blobs SET expires_at = now() - interval '1 second' WHERE state = 'pending'"
    )
    await blobs.sweep(grace=-1)
    assert len([blob async for blob in backend.store.blobs()]) == 1
