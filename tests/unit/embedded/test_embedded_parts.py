"""The parts of the launcher which need no Postgres."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxbase.embedded import Endpoint, account, child, pidfile, places, ports, progress, settings
from fluxbase.embedded.lock import ClusterLock, Note
from fluxbase.embedded.log import Log
from fluxbase.errors import ConfigError

ME = account.OURSELVES


def _pid_file(data: Path, pid: int, status: str) -> None:
    lines = [str(pid), str(data), "1790000000", "5432", "/run/s", "127.0.0.1", "1 2", status]
    (data / "postmaster.pid").write_text("\n".join(lines))


def test_an_endpoint_does_not_show_its_password() -> None:
    assert "secret" not in repr(Endpoint("/run/s", 1, "secret", owned=True))


def test_the_callers_settings_win_except_over_the_address() -> None:
    words = settings.options(7, "/run/s", {"Work_Mem": "1MB", "wal_level": "replica"})
    assert words[::2] == ["-c"] * (len(words) // 2)
    pairs = dict(word.split("=", 1) for word in words[1::2])
    assert pairs["work_mem"] == "1MB"
    assert pairs["wal_level"] == "replica"
    assert (pairs["port"], pairs["unix_socket_directories"]) == ("7", "/run/s")


@pytest.mark.parametrize("name", ["", "a b", "-x", "PORT", "data_directory", "a=b"])
def test_a_setting_which_cannot_be_passed_on_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        settings.check({name: "1"})


def test_a_pid_file_is_read_whole_or_half_written(tmp_path: Path) -> None:
    assert pidfile.read(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("")
    assert pidfile.read(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("12\n/data\n")
    half = pidfile.read(tmp_path)
    assert half is not None
    assert half == pidfile.Postmaster(12, 0, "", "")
    assert not half.ready
    _pid_file(tmp_path, 12, "ready   ")
    whole = pidfile.read(tmp_path)
    assert whole is not None
    assert whole == pidfile.Postmaster(12, 5432, "/run/s", "ready")
    assert whole.ready


def test_a_pid_of_a_stranger_or_of_nobody_is_not_a_live_postgres(tmp_path: Path) -> None:
    _pid_file(tmp_path, os.getpid(), "ready")
    assert pidfile.live(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    _pid_file(tmp_path, gone.pid, "ready")
    assert pidfile.live(tmp_path) is None
    assert not pidfile.exists(gone.pid)
    assert pidfile.exists(1)


def test_a_process_called_postgres_elsewhere_does_not_serve_this_data(tmp_path: Path) -> None:
    other, mine = tmp_path / "other", tmp_path / "mine"
    other.mkdir()
    mine.mkdir()
    with subprocess.Popen(["postgres", "10"], executable="/bin/sleep", cwd=other) as found:
        end = time.monotonic() + 5
        while not pidfile.serves(found.pid, other):
            assert time.monotonic() < end
        assert not pidfile.serves(found.pid, mine)
        assert pidfile.leftovers(other) == [found.pid]
        assert pidfile.leftovers(mine) == []
        found.kill()


def test_a_lock_is_held_once_and_keeps_its_note(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = ClusterLock(path), ClusterLock(path)
    assert first.read() == Note()
    assert first.acquire()
    assert first.acquire()
    first.write(Note(port=12345, socket_dir="/run/a longer name"))
    first.write(Note(port=5, socket_dir="/run/s"))
    assert not second.acquire()
    assert second.read() == Note(os.getpid(), 5, "/run/s")
    second.write(Note(port=6))
    first.release()
    assert second.acquire()
    assert second.read() == Note(os.getpid(), 5, "/run/s")
    second.release()


def test_a_lock_which_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        ClusterLock(tmp_path / "missing" / "lock").acquire()


def test_a_port_is_kept_while_it_is_free() -> None:
    port = ports.choose(0, 0)
    assert ports.choose(0, port) == port
    with socket.create_server((ports.LOOPBACK, port)):
        assert ports.choose(0, port) != port
        with pytest.raises(ConfigError, match=str(port)):
            ports.choose(port, 0)


def test_a_password_is_made_once_and_private(tmp_path: Path) -> None:
    spot = places.Places(tmp_path / "data")
    password = places.make_password(spot)
    assert len(password) >= 32
    assert places.make_password(spot) == places.read_password(spot) == password
    assert stat.S_IMODE(spot.password.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["data.password"]


def test_a_socket_directory_comes_back_only_if_it_is_ours() -> None:
    made = places.socket_dir("", ME)
    places.remove_socket_dir(made)
    assert places.socket_dir(made, ME) == made
    (Path(made) / ".s.PGSQL.5432.lock").write_text("1")
    assert places.socket_dir(made, ME) == made
    assert list(Path(made).iterdir()) == []
    Path(made).chmod(0o750)
    other = places.socket_dir(made, ME)
    assert other != made
    for path in (made, other):
        places.remove_socket_dir(path)
    strange = places.socket_dir("/etc", ME)
    assert strange != "/etc"
    places.remove_socket_dir(strange)


def test_a_complaint_leaves_out_the_secret_and_the_small_talk(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("FATAL:  long ago\n")
    log = Log.open(path)
    with path.open("a") as file:
        file.write("LOG:  hello\nFATAL:  secret word\nFATAL:  no memory\n")
    assert log.complaint("secret") == f"FATAL:  no memory (see {path})"
    log.close()


def test_a_log_which_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        Log.open(tmp_path / "missing" / "log")


def test_progress_is_told_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    counter = progress.Progress(told.append)
    counter.tell("Waiting.")
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    counter.tell("Waiting.")
    assert told == ["Waiting. (0 s so far)"]


def test_a_command_which_cannot_be_run_gives_a_code() -> None:
    assert account.run(ME, ["/nowhere/postgres"]).returncode == 126


def test_postgres_does_not_get_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUXBASE_SECRET", "hush")
    assert "FLUXBASE_SECRET" not in account.environment()


async def test_waiting_for_a_child_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = child.spawn(ME, ["/bin/sleep", "60"], out.fileno())
    assert await child.wait(process, 0.01) is None
    process.kill()
    assert await child.wait(process) == -9
