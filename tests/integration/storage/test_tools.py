"""The tools for files do what they say, for whom they should."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.backend import Backend
    from tests.integration.storage.conftest import Filer

HELLO = {"bucket": "files", "key": "notes/hello.txt"}


async def refused(caller: Filer, tool: str, **arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value.code


async def put(caller: Filer, key: str, content: str = "x", bucket: str = "files") -> dict[str, Any]:
    return await caller.call("upload_object", bucket=bucket, key=key, content=content)


async def test_what_is_uploaded_is_downloaded(one: Filer) -> None:
    stored = await one.call("upload_object", **HELLO, content="Grüße", metadata={"a": 1})
    assert stored["size"] == 7
    assert stored["content_type"] == "text/plain; charset=utf-8"
    got = await one.call("download_object", **HELLO)
    assert got == {
        **stored,
        "content": "Grüße",
        "encoding": "text",
        "truncated": False,
    }
    info = await one.call("get_object_info", **HELLO)
    assert (info["metadata"], info["etag"], info["versions"]) == ({"a": 1}, stored["etag"], [])


async def test_bytes_travel_as_base64(one: Filer) -> None:
    data = bytes(range(256))
    sent = base64.b64encode(data).decode()
    await one.call(
        "upload_object", **HELLO, content=sent, encoding="base64", content_type="image/png"
    )
    got = await one.call("download_object", **HELLO)
    assert (got["encoding"], base64.b64decode(got["content"])) == ("base64", data)
    assert await refused(one, "upload_object", **HELLO, content="?", encoding="base64") == "FLX101"


async def test_what_is_uploaded_again_is_replaced(one: Filer) -> None:
    first, second = await put(one, "a", "1"), await put(one, "a", "22")
    assert first["etag"] != second["etag"]
    assert (await one.call("download_object", bucket="files", key="a"))["content"] == "22"
    assert (await one.call("list_objects", bucket="files"))["count"] == 1


async def test_objects_are_listed_by_prefix_and_page(one: Filer) -> None:
    for key in ("b/2", "a/1", "b/1", "ü", "b/3", "c"):
        await put(one, key)
    page = await one.call("list_objects", bucket="files", prefix="b/", limit=2)
    assert [o["key"] for o in page["objects"]] == ["b/1", "b/2"]
    assert (page["count"], page["is_truncated"], page["next_marker"]) == (2, True, "b/2")
    rest = await one.call("list_objects", bucket="files", prefix="b/", start_after="b/2")
    assert [o["key"] for o in rest["objects"]] == ["b/3"]
    assert "next_marker" not in rest
    assert set(rest["objects"][0]) == {"key", "size", "content_type", "etag", "last_modified"}
    every = await one.call("list_objects", bucket="files")
    assert [o["key"] for o in every["objects"]] == ["a/1", "b/1", "b/2", "b/3", "c", "ü"]


async def test_an_object_is_deleted_once(one: Filer) -> None:
    await put(one, "a")
    gone = await one.call("delete_object", bucket="files", key="a")
    assert gone == {"deleted": True, "bucket": "files", "key": "a"}
    assert await refused(one, "delete_object", bucket="files", key="a") == "FLX205"
    assert await refused(one, "download_object", bucket="files", key="a") == "FLX205"


async def test_an_object_is_moved_and_copied(one: Filer) -> None:
    await put(one, "a", "words")
    await put(one, "taken")
    moved = await one.call("move_object", bucket="files", key="a", to_key="b/c", to_bucket="kept")
    assert moved == {"moved": True, "bucket": "kept", "key": "b/c"}
    await one.call("copy_object", bucket="kept", key="b/c", to_key="d", to_bucket="files")
    for bucket, key in (("kept", "b/c"), ("files", "d")):
        assert (await one.call("download_object", bucket=bucket, key=key))["content"] == "words"
    assert await refused(one, "download_object", bucket="files", key="a") == "FLX205"
    taken = {"bucket": "files", "key": "d", "to_key": "taken"}
    assert await refused(one, "move_object", **taken) == "FLX506"


async def test_a_bucket_with_versioning_keeps_what_was(one: Filer, two: Filer) -> None:
    for words in ("first", "second", "third"):
        await put(one, "a", words, "kept")
    info = await one.call("get_object_info", bucket="kept", key="a")
    versions = [v["version"] for v in info["versions"]]
    was = await one.call("download_object", bucket="kept", key="a", version=versions[0])
    assert was["content"] == "second"
    await one.call("delete_object", bucket="kept", key="a")
    was = await one.call("download_object", bucket="kept", key="a", version=versions[1])
    assert was["content"] == "first"
    code = await refused(two, "download_object", bucket="kept", key="a", version=versions[1])
    assert code == "FLX205"
    assert await refused(one, "download_object", bucket="kept", key="a", version="x") == "FLX205"


async def test_a_bucket_takes_what_its_rules_say(one: Filer) -> None:
    assert await refused(one, "upload_object", bucket="small", key="a", content="x" * 101) == (
        "FLX502"
    )
    await one.call("upload_object", bucket="small", key="a", content="x" * 100)
    image = {"bucket": "images", "key": "a", "content": "AA==", "encoding": "base64"}
    assert await refused(one, "upload_object", **image, content_type="text/html") == "FLX101"
    await one.call("upload_object", **image, content_type="image/png")
    # A move is judged by the rules of where it goes.
    await one.call("upload_object", bucket="files", key="a", content="x" * 101)
    away = {"bucket": "files", "key": "a", "to_key": "b"}
    assert await refused(one, "move_object", **away, to_bucket="small") == "FLX502"
    assert await refused(one, "move_object", **away, to_bucket="images") == "FLX101"
    assert await refused(one, "move_object", **away, to_bucket="nothing") == "FLX204"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a\x00b",
        "a\nb",
        "a\\b",
        "e\u0301",
        "x" * 1025,
    ],
)
async def test_a_key_that_nobody_could_read_is_refused(one: Filer, key: str) -> None:
    code = await refused(one, "upload_object", bucket="files", key=key, content="x")
    assert code == "FLX101"


@pytest.mark.parametrize("bucket", ["Up", "a", "../etc", "upload", "x" * 64, "a/b"])
async def test_a_bucket_that_cannot_be_is_refused(one: Filer, bucket: str) -> None:
    assert await refused(one, "upload_object", bucket=bucket, key="a", content="x") == "FLX101"


async def test_nobody_sees_or_touches_the_files_of_another(one: Filer, two: Filer) -> None:
    await put(one, "mine", "secret")
    mine = {"bucket": "files", "key": "mine"}
    assert (await two.call("list_objects", bucket="files"))["objects"] == []
    assert await refused(two, "download_object", **mine) == "FLX205"
    assert await refused(two, "get_object_info", **mine) == "FLX205"
    assert await refused(two, "delete_object", **mine) == "FLX205"
    assert await refused(two, "move_object", **mine, to_key="x") == "FLX205"
    assert await refused(two, "copy_object", **mine, to_key="x") == "FLX205"
    assert await refused(two, "create_signed_url", **mine) == "FLX205"
    assert await refused(two, "upload_object", **mine, content="x") == "FLX302"
    assert (await one.call("download_object", **mine))["content"] == "secret"


async def test_public_buckets_are_read_by_all_and_written_by_owners(
    one: Filer, two: Filer, filers: dict[str, Filer]
) -> None:
    await put(one, "a", "open", "shared")
    for caller in (two, filers["nobody"]):
        got = await caller.call("download_object", bucket="shared", key="a")
        assert got["content"] == "open"
    assert await refused(two, "delete_object", bucket="shared", key="a") == "FLX302"
    assert await refused(
        filers["nobody"], "upload_object", bucket="files", key="a", content=""
    ) in ("FLX302")


async def test_scopes_decide_which_tools_there_are(filers: dict[str, Filer]) -> None:
    async def names(who: str) -> set[str]:
        answer = await filers[who].rpc("tools/list")
        return {tool["name"] for tool in answer["result"]["tools"]}

    assert not {"list_objects", "upload_object"} & await names("stranger")
    assert "upload_object" not in await names("reader")
    assert {"list_objects", "download_object"} <= await names("reader")
    assert "create_bucket" not in await names("one")
    assert {"create_bucket", "update_bucket", "delete_bucket"} <= await names("admin")
    put_url = {"bucket": "files", "key": "a", "method": "put"}
    assert await refused(filers["reader"], "create_signed_url", **put_url) == "FLX101"
    answer = await filers["one"].rpc(
        "tools/call", name="create_bucket", arguments={"bucket": "x1x"}
    )
    assert answer["error"]["data"]["code"] == "FLX401"


async def test_administrators_make_change_and_remove_buckets(admin: Filer, one: Filer) -> None:
    made = await admin.call("create_bucket", bucket="made-now", allowed_mime_types=["text/*"])
    assert (made["public"], made["max_file_size"]) == (False, None)
    assert await refused(admin, "create_bucket", bucket="made-now") == "FLX506"
    changed = await admin.call("update_bucket", bucket="made-now", max_file_size=10, public=True)
    assert (changed["max_file_size"], changed["allowed_mime_types"]) == (10, ["text/*"])
    lifted = await admin.call("update_bucket", bucket="made-now", max_file_size=0)
    assert (lifted["max_file_size"], lifted["public"]) == (None, True)
    assert await refused(admin, "update_bucket", bucket="nothing") == "FLX204"
    wrong = {"bucket": "made-now", "allowed_mime_types": ["nonsense"]}
    assert await refused(admin, "update_bucket", **wrong) == "FLX101"
    await put(one, "a", bucket="made-now")
    listed = {b["id"]: b for b in (await one.call("list_buckets"))["buckets"]}
    assert listed["made-now"]["public"] is True
    assert await refused(admin, "delete_bucket", bucket="made-now") == "FLX506"
    gone = await admin.call("delete_bucket", bucket="made-now", force=True)
    assert gone == {"deleted": True, "bucket": "made-now", "objects": 1}
    assert await refused(admin, "delete_bucket", bucket="made-now") == "FLX204"


async def test_a_model_gets_the_beginning_of_what_is_too_long(
    serving: Callable[..., Any], one: Filer
) -> None:
    async with serving(storage={"max_download_size": 10}) as http:
        one.http = http
        await put(one, "a", "12345678 ü and more")
        got = await one.call("download_object", bucket="files", key="a")
    assert (got["content"], got["truncated"], got["size"]) == ("12345678 ", True, 20)


async def test_resources_show_buckets_and_objects(one: Filer, two: Filer) -> None:
    await put(one, "a/b.txt", "held")
    listed = await one.rpc("resources/read", uri="fluxbase://storage/buckets")
    assert '"id":"files"' in listed["result"]["contents"][0]["text"]
    uri = "fluxbase://storage/files/a/b.txt"
    [held] = (await one.rpc("resources/read", uri=uri))["result"]["contents"]
    assert base64.b64decode(held["blob"]) == b"held"
    assert (await two.rpc("resources/read", uri=uri))["error"]["data"]["code"] == "FLX402"
    ref = {"type": "ref/resource", "uri": "fluxbase://storage/{bucket}/{+key}"}
    asked = {"ref": ref, "argument": {"name": "bucket", "value": "fi"}}
    found = await one.rpc("completion/complete", **asked)
    assert found["result"]["completion"]["values"] == ["files"]


async def test_every_call_is_recorded(
    one: Filer, owner: asyncpg.Connection[asyncpg.Record], backend: Backend
) -> None:
    await owner.execute("TRUNCATE platform.audit")
    await put(one, "a")
    await refused(one, "upload_object", bucket="files", key="../a", content="x")
    rows = await owner.fetch("SELECT action, target, outcome FROM platform.audit ORDER BY id")
    seen = {(row["action"], row["target"], row["outcome"]) for row in rows}
    assert ("upload_object", "storage/files", "ok") in seen
    assert ("upload_object", "storage/files", "denied") in seen or (
        "upload_object",
        "storage/files",
        "failed",
    ) in seen
