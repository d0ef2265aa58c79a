"""Objects as files over plain HTTP: whole, in parts, under conditions, and by signed URLs."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.storage.signing import Pass, Signer
from tests.world import USER1, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

    from fluxbase.app.backend import Backend
    from tests.integration.storage.conftest import Filer

DATA = bytes(range(256)) * 40


async def kept(caller: Filer, path: str = "files/a.bin", **headers: str) -> str:
    sent = {"Content-Type": "application/octet-stream", **headers}
    answer = await caller.send("PUT", path, content=DATA, headers=sent)
    assert answer.status_code in (200, 201), answer.text
    return answer.headers["etag"]


async def test_a_file_goes_up_and_comes_down(one: Filer) -> None:
    answer = await one.send(
        "PUT", "files/a/ü.png", content=DATA, headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 201
    told = answer.json()
    assert (told["key"], told["size"], told["content_type"]) == ("a/ü.png", 10240, "image/png")
    got = await one.send("GET", "files/a/ü.png")
    assert (got.status_code, got.content) == (200, DATA)
    assert got.headers["etag"] == f'"{told["etag"]}"' == answer.headers["etag"]
    assert got.headers["content-type"] == "image/png"
    assert got.headers["content-disposition"] == "inline; filename*=UTF-8''%C3%BC.png"
    again = await one.send(
        "PUT", "files/a/ü.png", content=b"x", headers={"Content-Type": "image/png"}
    )
    assert again.status_code == 200
    looked = await one.send("HEAD", "files/a/ü.png")
    assert (looked.headers["content-length"], looked.content) == ("1", b"")
    assert (await one.send("DELETE", "files/a/ü.png")).status_code == 204
    assert (await one.send("GET", "files/a/ü.png")).status_code == 404


async def test_an_empty_file_is_a_file(one: Filer) -> None:
    assert (await one.send("PUT", "files/empty", content=b"")).status_code == 201
    got = await one.send("GET", "files/empty")
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10000, 10240),
        ("bytes=-40", 10200, 10240),
        ("bytes=-99999", 0, 10240),
        ("bytes=10239-99999", 10239, 10240),
    ],
)
async def test_a_part_is_given(one: Filer, asked: str, start: int, end: int) -> None:
    etag = await kept(one)
    for condition in ({}, {"If-Range": etag}):
        got = await one.send("GET", "files/a.bin", headers={"Range": asked, **condition})
        assert (got.status_code, got.content) == (206, DATA[start:end])
        assert got.headers["content-range"] == f"bytes {start}-{end - 1}/10240"


@pytest.mark.parametrize(
    "asked", ["bytes=5-3", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-"]
)
async def test_what_is_no_single_range_is_ignored(one: Filer, asked: str) -> None:
    await kept(one)
    got = await one.send("GET", "files/a.bin", headers={"Range": asked})
    assert (got.status_code, got.content) == (200, DATA)


async def test_a_part_behind_the_end_is_refused(one: Filer) -> None:
    await kept(one)
    for asked in ("bytes=10240-", "bytes=-0"):
        got = await one.send("GET", "files/a.bin", headers={"Range": asked})
        assert (got.status_code, got.headers["content-range"]) == (416, "bytes */10240")
    stale = {"Range": "bytes=0-1", "If-Range": '"old"'}
    assert (await one.send("GET", "files/a.bin", headers=stale)).status_code == 200


async def test_conditions_are_held(one: Filer) -> None:
    etag = await kept(one)
    modified = (await one.send("HEAD", "files/a.bin")).headers["last-modified"]
    old = "Mon, 01 Jan 2024 00:00:00 GMT"
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"x", W/{etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": old}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Unmodified-Since": old}, 412),
        ({"If-None-Match": '"x"', "If-Modified-Since": modified}, 200),
    ):
        got = await one.send("GET", "files/a.bin", headers=headers)
        assert got.status_code == status, headers
        assert got.headers.get("etag") == (etag if status != 412 else None)


async def test_writes_are_made_under_conditions(one: Filer) -> None:
    etag = await kept(one)
    new = {"If-None-Match": "*"}
    assert (await one.send("PUT", "files/a.bin", content=b"x", headers=new)).status_code == 412
    assert (await one.send("PUT", "files/b.bin", content=b"x", headers=new)).status_code == 201
    other = {"If-Match": '"other"'}
    assert (await one.send("PUT", "files/a.bin", content=b"x", headers=other)).status_code == 412
    assert (await one.send("DELETE", "files/a.bin", headers=other)).status_code == 412
    assert (await one.send("PUT", "files/new", content=b"x", headers=other)).status_code == 412
    right = {"If-Match": etag}
    assert (await one.send("PUT", "files/a.bin", content=b"x", headers=right)).status_code == 200
    assert (await one.send("DELETE", "files/a.bin", headers=right)).status_code == 412
    assert (await one.send("GET", "files/a.bin")).content == b"x"


async def test_a_browser_is_told_to_trust_nothing(one: Filer) -> None:
    for kind, how in (
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("video/mp4", "inline"),
    ):
        await kept(one, "files/f", **{"Content-Type": kind})
        got = await one.send("GET", "files/f")
        assert got.headers["content-disposition"].startswith(how)
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cache-control"] == "private, no-cache"
    named = await one.send("GET", 'files/f?download=a"b%0d%0aX: y')
    assert (
        named.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22b%0D%0AX%3A%20y"
    )


async def test_a_type_with_line_ends_or_nonsense_is_refused(one: Filer) -> None:
    for kind in ("nonsense", "text/html; charset=<x>", "a/b" * 100):
        answer = await one.send("PUT", "files/f", content=b"", headers={"Content-Type": kind})
        assert answer.status_code == 400


async def test_nobody_reads_what_is_public_and_no_more(
    one: Filer, two: Filer, http: httpx2.AsyncClient
) -> None:
    await kept(one, "shared/open")
    await kept(one, "files/mine")
    base = "/api/v1/storage"
    got = await http.get(f"{base}/shared/open")
    assert (got.status_code, got.content) == (200, DATA)
    assert got.headers["cache-control"] == "public, no-cache"
    for path in ("files/mine", "files/nothing", "nothing/at-all"):
        assert (await http.get(f"{base}/{path}")).status_code == 401
        assert (await two.send("GET", path)).status_code == 404
    for method in ("PUT", "DELETE"):
        assert (await http.request(method, f"{base}/shared/open")).status_code == 401
    assert (await two.send("PUT", "files/mine", content=b"")).status_code == 403
    assert (await two.send("DELETE", "files/mine")).status_code == 404
    assert (await two.send("DELETE", "shared/open")).status_code == 403


async def test_keys_without_the_scope_have_no_door(filers: dict[str, Filer]) -> None:
    await kept(filers["one"])
    assert (await filers["stranger"].send("GET", "files/a.bin")).status_code == 403
    assert (await filers["reader"].send("GET", "files/a.bin")).status_code == 200
    assert (await filers["reader"].send("PUT", "files/b", content=b"")).status_code == 403
    assert (await filers["reader"].send("DELETE", "files/a.bin")).status_code == 403


async def test_what_is_too_large_is_refused_before_it_is_sent(one: Filer, backend: Backend) -> None:
    asked = False

    async def body() -> AsyncGenerator[bytes]:
        nonlocal asked
        asked = True
        yield b"x" * 101

    small = await one.send("PUT", "small/a", content=body(), headers={"Content-Length": "101"})
    assert small.status_code == 413
    sly = await one.send("PUT", "small/a", content=body())
    assert sly.status_code == 413
    assert asked
    assert [blob async for blob in backend.store.blobs()] == []


async def url_of(caller: Filer, **arguments: Any) -> str:
    signed = await caller.call("create_signed_url", **arguments)
    parts = urlsplit(str(signed["url"]))
    return f"{parts.path}?{parts.query}"


async def test_a_signed_url_is_good_for_one_object_and_one_method(
    one: Filer, http: httpx2.AsyncClient
) -> None:
    await kept(one)
    await kept(one, "files/other")
    url = await url_of(one, bucket="files", key="a.bin")
    assert (await http.get(url)).content == DATA
    assert (await http.head(url)).status_code == 200
    assert (await http.get(url.replace("a.bin", "other"))).status_code == 403
    assert (await http.put(url, content=b"x")).status_code == 403
    assert (await http.delete(url)).status_code == 403
    assert (await http.get(url, headers={"X-Client-Key": one.key})).status_code == 400
    part = await http.get(url, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, DATA[:10])


async def test_a_signed_url_takes_a_file(one: Filer, http: httpx2.AsyncClient) -> None:
    url = await url_of(
        one, bucket="files", key="in", method="put", max_size=10, content_type="text/plain"
    )
    plain = {"Content-Type": "text/plain"}
    assert (await http.put(url, content=b"x" * 11, headers=plain)).status_code == 413
    other = {"Content-Type": "text/html"}
    assert (await http.put(url, content=b"x", headers=other)).status_code == 400
    assert (await http.put(url, content=b"words", headers=plain)).status_code == 201
    assert (await one.call("download_object", bucket="files", key="in"))["content"] == "words"
    assert (await http.get(url)).status_code == 403


async def test_a_signed_url_that_was_changed_or_made_up_is_refused(
    one: Filer, http: httpx2.AsyncClient, backend: Backend
) -> None:
    await kept(one)
    url = await url_of(one, bucket="files", key="a.bin")
    path, _, token = url.partition("?token=")
    assert USER1 not in str(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for wrong in ("", "x", token[:-1], token[1:], token + "A", f"{token}=", changed, "A" * 9000):
        answer = await http.get(path, params={"token": wrong})
        assert answer.status_code == 401, wrong
    foreign = Signer(bytes(32))
    real = Signer(backend.peppers.derive("signed url"))
    opened = real.open(token)
    forged = foreign.seal(opened)
    assert (await http.get(path, params={"token": forged})).status_code == 401
    over = Pass("GET", "files", "a.bin", int(time.time()) - 1, opened.who)
    answer = await http.get(path, params={"token": real.seal(over)})
    assert answer.status_code == 401
    assert "expired" in answer.json()["error"]["message"]


async def test_a_signed_url_ends_with_the_key_that_made_it(
    one: Filer, http: httpx2.AsyncClient, backend: Backend
) -> None:
    await kept(one)
    issued = await backend.keys.create(
        "client_key", NewKey("brief", ("read:storage",), user_id=USER1)
    )
    brief = type(one)("brief", issued.id, issued.key, http)
    url = await url_of(brief, bucket="files", key="a.bin")
    assert (await http.get(url)).status_code == 200
    await backend.keys.revoke("client_key", issued.id)
    answer = await http.get(url)
    for _ in range(100):
        if answer.status_code == 401:
            break
        answer = await http.get(url)
    assert answer.status_code == 401


async def test_a_signed_url_lasts_no_longer_than_allowed(
    one: Filer, serving: Callable[..., Any]
) -> None:
    await kept(one)
    async with serving(storage={"signed_url_lifetime": 60}) as http:
        one.http = http
        with pytest.raises(Refused) as caught:
            await one.call("create_signed_url", bucket="files", key="a.bin", expires_in=61)
    assert caught.value.code == "FLX101"
    assert "60 seconds" in caught.value.message


async def test_storage_that_is_turned_off_is_not_there(
    one: Filer, serving: Callable[..., Any]
) -> None:
    async with serving(storage={"enabled": False}) as http:
        one.http = http
        assert (await one.send("GET", "shared/a")).status_code == 404
        with pytest.raises(Refused) as caught:
            await one.call("list_buckets")
    assert caught.value.code == "FLX401"
