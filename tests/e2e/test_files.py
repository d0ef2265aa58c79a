"""Files of a real server: a gigabyte in little memory, another's client, and the command line."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx2
import pytest

from tests.e2e.cli_stand import Place, place, wait
from tests.e2e.process import DEFAULTS, Demo
from tests.e2e.test_clients import CLIENTS, HERE, NODE
from tests.relay import relay

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.slow

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
MOST: Final = 150 * MIB
TUS: Final = CLIENTS / "tus/node_modules/tus-js-client/lib.esm/node/index.js"
USER: Final = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with place() as here:
        here.configure(DEFAULTS)
        with here.serving("--demo") as running:
            wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
            assert here.run("storage", "mb", "files").code == 0
            scopes = ("--scopes", "read:storage,write:storage", "--user-id", USER)
            made = here.run("clientkeys", "create", "--name", "files", *scopes, "-o", "json")
            yield Demo(here, running, {"files": made.json["key"]})


def peak(server: Demo) -> int:
    """Return the most memory that the server ever had, in bytes."""
    status = Path(f"/proc/{server.running.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def pattern(size: int) -> Iterator[bytes]:
    block = hashlib.sha256(b"block").digest() * 32_768
    for start in range(0, size, MIB):
        yield start.to_bytes(8) + block[8 : min(MIB, size - start)]


def test_a_gigabyte_goes_up_and_down_in_little_memory(server: Demo) -> None:
    url = f"{server.running.url}/api/v1/storage/files/large.bin"
    headers = {"X-Client-Key": server.keys["files"], "Content-Length": str(GIB)}
    digest = hashlib.sha256()
    for piece in pattern(GIB):
        digest.update(piece)
    with httpx2.Client(timeout=300) as http:
        answer = http.put(url, headers=headers, content=pattern(GIB))
        assert answer.status_code == 201, answer.text
        assert answer.json()["etag"] == digest.hexdigest()
        got = hashlib.sha256()
        size = 0
        with http.stream("GET", url, headers={"X-Client-Key": server.keys["files"]}) as down:
            for piece in down.iter_raw():
                got.update(piece)
                size += len(piece)
        assert (size, got.hexdigest()) == (GIB, digest.hexdigest())
        assert http.delete(url, headers=headers | {"Content-Length": "0"}).status_code == 204
    assert peak(server) < MOST


def test_another_s_client_goes_on_after_a_cut(server: Demo, tmp_path: Path) -> None:
    file = tmp_path / "upload.bin"
    file.write_bytes(b"".join(pattern(20 * MIB + 5)))
    with relay(server.port, cut_after=11 * MIB) as (port, passed):
        endpoint = f"http://127.0.0.1:{port}/api/v1/storage/upload/resumable"
        script = str(HERE / "tus.mjs")
        done = subprocess.run(
            [str(NODE), script, str(TUS), endpoint, server.keys["files"], str(file), "tus.bin"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed.cuts == 1
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["retries"] >= 1
    url = f"{server.running.url}/api/v1/storage/files/tus.bin"
    got = httpx2.get(url, headers={"X-Client-Key": server.keys["files"]}, timeout=60)
    assert got.content == file.read_bytes()
    assert got.headers["content-type"] == "application/x-test"


def test_the_command_line_copies_lists_and_removes(server: Demo, tmp_path: Path) -> None:
    here: Place = server.place
    (tmp_path / "a b.txt").write_text("words")
    up = here.run("storage", "cp", str(tmp_path / "a b.txt"), "storage://files/notes/")
    assert (up.code, up.out) == (0, "storage://files/notes/a b.txt  5 bytes\n")
    [listed] = here.run("storage", "ls", "storage://files/notes/", "-o", "json").json
    assert (listed["key"], listed["content_type"]) == ("notes/a b.txt", "text/plain")
    again = here.run("storage", "cp", "storage://files/notes/a b.txt", "storage://files/copy.txt")
    assert again.code == 0, again.err
    down = here.run("storage", "cp", "storage://files/copy.txt", str(tmp_path))
    assert down.code == 0, down.err
    assert (tmp_path / "copy.txt").read_text() == "words"
    piped = here.bash("echo piped | fluxbase storage cp - storage://files/in.txt --type text/plain")
    assert piped.code == 0, piped.err
    shown = here.run("storage", "cp", "storage://files/in.txt", "-")
    assert shown.out == "piped\n"
    assert here.run("storage", "rm", "storage://files/copy.txt").out == "removed 1\n"
    refused = here.run("storage", "rm", "-r", "storage://files/notes")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert here.run("storage", "rm", "-r", "-y", "storage://files/").code == 0
    assert here.run("storage", "ls", "storage://files", "-o", "json").json == []
    buckets = here.run("storage", "ls", "-o", "json").json
    assert [bucket["id"] for bucket in buckets] == ["files"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cp", "a", "b"), "one of SOURCE and TARGET"),
        (("cp", "/nowhere/at/all", "storage://files/x"), "SOURCE: No such file"),
        (("cp", "storage://files/nothing", "-"), "No such object"),
        (("cp", "storage://nothing/x", "-"), "No such object"),
        (("rm", "storage://files/nothing"), "No such object"),
        (("rm", "storage://files"), "an object is expected"),
        (("ls", "files"), "storage://BUCKET/KEY is expected"),
        (("mb", "UPPER"), "bucket: 3 to 63"),
        (("mb", "files"), "there is a bucket of this name"),
    ],
)
def test_a_command_that_cannot_be_says_why(server: Demo, words: tuple[str, ...], said: str) -> None:
    done = server.place.run("storage", *words)
    assert done.code in (1, 2)
    assert said in done.err


def test_a_client_whose_line_went_dead_goes_on_from_what_came(server: Demo) -> None:
    base = f"{server.running.url}/api/v1/storage/upload/resumable"
    key = {"X-Client-Key": server.keys["files"], "Tus-Resumable": "1.0.0"}
    names = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}"
        for name, value in (("bucketName", "files"), ("objectName", "dead.bin"))
    )
    begun = httpx2.post(base, headers={**key, "Upload-Length": "10", "Upload-Metadata": names})
    path = begun.headers["location"]
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"X-Client-Key: {server.keys['files']}\r\nContent-Length: 10\r\n"
        "Content-Type: application/offset+octet-stream\r\n\r\n01234"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as dead:
        dead.sendall(head.encode())
        url = f"{server.running.url}{path}"
        wait(lambda: httpx2.head(url, headers=key).headers["upload-offset"] == "5", "the bytes")
        rest = {**key, "Upload-Offset": "5", "Content-Type": "application/offset+octet-stream"}
        assert httpx2.patch(url, headers=rest, content=b"56789").status_code == 204
    got = httpx2.get(
        f"{server.running.url}/api/v1/storage/files/dead.bin",
        headers={"X-Client-Key": server.keys["files"]},
    )
    assert got.content == b"0123456789"
