"""Every backend keeps bytes the same way: one suite for a folder and for three S3 servers."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fluxbase.config.storage import S3
from fluxbase.storage.local import LocalStore
from fluxbase.storage.s3 import S3Store
from fluxbase.storage.store import MissingBlob, Store, StoreUnavailable
from tests.s3_servers import SERVERS, client_of, s3_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

MIB = 1024 * 1024
SIZES = [0, 1, 1000, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 7]


@pytest.fixture(scope="module", params=["local", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Generator[Path | S3]:
    if request.param == "local":
        yield tmp_path_factory.mktemp("blobs")
        return
    with s3_server(request.param) as config:
        yield config


@pytest.fixture
async def store(place: Path | S3) -> AsyncGenerator[Store]:
    opened = S3Store(place) if isinstance(place, S3) else LocalStore(place)
    yield opened
    async for blob in opened.blobs():
        await opened.delete(blob)
    await opened.close()


async def pieces(data: bytes, size: int = 300_000) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: Store, blob: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.get(blob, start, end)])


def data_of(size: int) -> bytes:
    return (sha256(b"seed").digest() * (size // 32 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_put_is_got(store: Store, size: int) -> None:
    blob, data = str(uuid4()), data_of(size)
    stored = await store.put(blob, pieces(data))
    assert stored == (size, sha256(data).hexdigest())
    assert await store.size(blob) == size
    assert await read(store, blob) == data


async def test_parts_are_got(store: Store) -> None:
    blob, data = str(uuid4()), data_of(3 * MIB)
    await store.put(blob, pieces(data))
    for start, end in ((0, 1), (1, 2), (MIB, 2 * MIB), (3 * MIB - 1, None), (5, 5), (0, 3 * MIB)):
        assert await read(store, blob, start, end) == data[start:end]


async def test_what_is_not_there_is_missing(store: Store) -> None:
    blob = str(uuid4())
    assert await store.size(blob) is None
    with pytest.raises(MissingBlob):
        await read(store, blob)
    await store.delete(blob)


async def test_what_is_deleted_is_gone_and_deleting_again_does_nothing(store: Store) -> None:
    blob = str(uuid4())
    await store.put(blob, pieces(b"x"))
    await store.delete(blob)
    await store.delete(blob)
    assert await store.size(blob) is None


@pytest.mark.parametrize("size", [10, 20 * MIB])
async def test_a_source_that_fails_leaves_nothing(store: Store, size: int) -> None:
    blob = str(uuid4())

    async def broken() -> AsyncGenerator[bytes]:
        async for piece in pieces(data_of(size)):
            yield piece
        raise KeyError("cut")

    with pytest.raises(KeyError):
        await store.put(blob, broken())
    assert await store.size(blob) is None
    assert blob not in [found async for found in store.blobs()]


async def test_a_put_that_is_cancelled_leaves_nothing(store: Store) -> None:
    blob, began = str(uuid4()), asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(20):
            yield data_of(MIB)
        began.set()
        await asyncio.Event().wait()

    putting = asyncio.ensure_future(store.put(blob, endless()))
    await began.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await store.size(blob) is None


async def test_a_blob_is_never_overwritten(store: Store, place: Path | S3) -> None:
    if isinstance(place, S3) and not place.conditional_writes:
        # A server without If-None-Match: ids are random, which is all that can be done there.
        assert place.endpoint_url is not None
        return
    for size in (1, 20 * MIB):
        blob, data = str(uuid4()), data_of(size)
        await store.put(blob, pieces(data))
        with pytest.raises(StoreUnavailable):
            await store.put(blob, pieces(b"other" * 4 * MIB))
        assert await read(store, blob) == data


async def test_all_blobs_are_listed(store: Store) -> None:
    wanted = {str(uuid4()) for _ in range(5)}
    for blob in wanted:
        await store.put(blob, pieces(b"x"))
    assert {found async for found in store.blobs()} == wanted


async def test_a_reader_that_stops_early_lets_go(store: Store) -> None:
    blob = str(uuid4())
    await store.put(blob, pieces(data_of(20 * MIB)))
    for _ in range(40):  # more than there are connections
        async with aclosing(store.get(blob)) as reading:
            async for _ in reading:
                break
    assert len(await read(store, blob)) == 20 * MIB


async def test_many_at_once(store: Store) -> None:
    blobs = {str(uuid4()): data_of(1000 + n) for n in range(40)}
    await asyncio.gather(*(store.put(b, pieces(d)) for b, d in blobs.items()))
    got = await asyncio.gather(*(read(store, b) for b in blobs))
    assert got == list(blobs.values())


async def test_a_name_that_is_no_id_is_refused(store: Store) -> None:
    for name in ("../../etc/passwd", "a", ""):
        with pytest.raises(ValueError, match="UUID"):
            await store.put(name, pieces(b"x"))


async def test_it_says_whether_it_works(store: Store) -> None:
    await store.check()


async def test_a_bucket_that_is_missing_is_made_where_that_is_wanted() -> None:
    with s3_server("moto") as config:
        missing = S3Store(config.model_copy(update={"bucket": "missing"}))
        with pytest.raises(StoreUnavailable, match="does not exist"):
            await missing.check()
        made = S3Store(config.model_copy(update={"bucket": "missing", "create_bucket": True}))
        await made.check()
        await missing.check()
        for store in (missing, made):
            await store.close()


async def test_a_wrong_secret_is_refused_where_signatures_are_checked() -> None:
    with s3_server("rclone") as config:
        good = client_of(config)
        good.put_object(Bucket=config.bucket, Key="fluxbase/x", Body=b"x")
        bad = S3.model_validate({**config.model_dump(), "secret_access_key": "wrong"})
        store = S3Store(bad)
        with pytest.raises(StoreUnavailable):
            await store.put(str(uuid4()), pieces(b"x"))
        await store.close()


async def test_a_server_that_is_away_is_told_in_seconds() -> None:
    config = S3.model_validate(
        {
            "bucket": "b",
            "endpoint_url": "http://127.0.0.1:9",
            "access_key_id": "k",
            "secret_access_key": "s",
        }
    )
    store = S3Store(config)
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await store.put(str(uuid4()), pieces(b"x"))
        with pytest.raises(StoreUnavailable):
            await store.check()
    await store.close()


async def test_a_folder_holds_nothing_but_ids(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    blob = str(uuid4())
    await store.put(blob, pieces(b"x"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert [path.name for path in files] == [blob.replace("-", "")]
    assert files[0].stat().st_mode & 0o777 == 0o600


async def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    blob = str(uuid4())
    secret = tmp_path / "secret"
    secret.write_text("secret")
    target = tmp_path / "blobs" / blob[:2] / blob.replace("-", "")
    target.parent.mkdir(parents=True)
    target.symlink_to(secret)
    with pytest.raises(StoreUnavailable):
        await read(store, blob)


async def test_who_gives_up_waits_for_the_thread_that_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, goes_on = threading.Event(), threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        writes.set()
        goes_on.wait(10)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    putting = asyncio.ensure_future(LocalStore(tmp_path).put(str(uuid4()), pieces(b"x" * 2 * MIB)))
    await asyncio.to_thread(writes.wait, 10)
    putting.cancel()
    await asyncio.wait((putting,), timeout=0.2)
    # Closing the file now would let the thread write into whatever is opened next.
    assert not putting.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # noqa: ASYNC240
