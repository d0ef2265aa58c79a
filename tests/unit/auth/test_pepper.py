from __future__ import annotations

import base64
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest

from fluxbase.auth.pepper import Peppers
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = bytes(range(32)), bytes(range(32, 72))


def entry(version: str, secret: bytes) -> str:
    return f"{version}:{base64.b64encode(secret).decode()}"


def test_the_first_entry_is_current_and_all_are_known():
    peppers = Peppers.parse(f"{entry('v2', NEW)}, {entry('v1', OLD)}\n")
    assert peppers.current == "v2"
    assert peppers.ring == {"v2": NEW, "v1": OLD}


def test_the_ring_is_frozen_and_not_shown():
    peppers = Peppers.parse(entry("v1", OLD))
    with pytest.raises(TypeError):
        peppers.ring["v2"] = NEW  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    assert str(OLD) not in repr(peppers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "v1",
        base64.b64encode(OLD).decode(),
        "v1:",
        "v1:not base64!",
        "v1:\u00e9",
        ":" + base64.b64encode(OLD).decode(),
        "v 1:" + base64.b64encode(OLD).decode(),
        entry("v1", OLD[:31]),
        f"{entry('v1', OLD)},{entry('v1', NEW)}",
        f"{entry('v1', OLD)},",
    ],
)
def test_a_wrong_setting_is_named_and_its_value_kept_quiet(text: str):
    with pytest.raises(ConfigError, match=r"auth\.peppers") as caught:
        Peppers.parse(text)
    assert base64.b64encode(OLD).decode() not in str(caught.value.as_dict())


def test_each_purpose_and_version_has_its_own_secret():
    peppers = Peppers.parse(f"{entry('v2', NEW)},{entry('v1', OLD)}")
    assert peppers.derive("keys") == peppers.derive("keys", "v2")
    derived = {
        peppers.derive("keys"),
        peppers.derive("audit"),
        peppers.derive("keys", "v1"),
        OLD,
        NEW,
    }
    assert len(derived) == 5
    assert peppers.derive("keys", "v1") == Peppers.parse(entry("v1", OLD)).derive("keys")
    with pytest.raises(KeyError):
        peppers.derive("keys", "v0")


def test_the_first_start_makes_a_private_file_and_the_next_reads_it(tmp_path: Path):
    path = tmp_path / "pepper"
    old_mask = os.umask(0)
    try:
        made = Peppers.load_or_create(path)
    finally:
        os.umask(old_mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Peppers.load_or_create(path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["pepper"]
    assert len(made.ring[made.current]) == 32


def _start(path: Path, count: int) -> list[bytes]:
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        return pool.map(_load, [path] * count * 4, chunksize=1)


def _load(path: Path) -> bytes:
    return Peppers.load_or_create(path).derive("race")


def test_processes_that_start_at_once_agree(tmp_path: Path):
    assert len(set(_start(tmp_path / "pepper", 4))) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_loser_of_the_race_takes_the_winners_pepper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "pepper"
    link = os.link

    def win_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        Peppers.load_or_create(path)
        link(source, target)

    monkeypatch.setattr(os, "link", win_first)
    late = Peppers.load_or_create(path)
    assert late == Peppers.load_or_create(path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o660, 0o610])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int):
    path = tmp_path / "pepper"
    Peppers.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="open to other users"):
        Peppers.load_or_create(path)


def test_a_link_is_not_followed(tmp_path: Path):
    Peppers.load_or_create(tmp_path / "real")
    (tmp_path / "pepper").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("pepper", "dangling"):
        with pytest.raises(ConfigError):
            Peppers.load_or_create(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_a_pipe_and_an_empty_file_are_refused(tmp_path: Path):
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    for name in ("folder", "pipe", "empty", "binary"):
        with pytest.raises(ConfigError, match=r"auth\.peppers"):
            Peppers.load_or_create(tmp_path / name)


def test_a_folder_that_is_missing_is_a_configuration_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be used"):
        Peppers.load_or_create(tmp_path / "missing" / "pepper")


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "pepper"
    Peppers.load_or_create(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65533)
    with pytest.raises(ConfigError, match="another user"):
        Peppers.load_or_create(path)
