"""What is killed comes back, and what should die with its owner does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.embedded import EmbeddedPostgres
from fluxbase.embedded.pidfile import live, read
from fluxbase.errors import ConfigError
from tests.integration.embedded.stand import (
    ACCOUNTS,
    ROOT,
    Account,
    ask,
    eventually,
    kill,
    login,
    names,
    postmaster,
    processes,
    running,
    until_answering,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.embedded.stand import Driver


async def _crashed(data_dir: Path) -> None:
    async with running(data_dir) as postgres:
        await ask(postgres.endpoint, "create table kept as select 42 as n")
        await kill(data_dir)
        await eventually(lambda: live(data_dir) is None, "the postmaster is dead")
    assert (data_dir / "postmaster.pid").exists()


def _stranger(data_dir: Path) -> subprocess.Popen[Any]:
    """A process of the user who runs Postgres: Postgres alone would take it for itself."""
    owner = data_dir.stat()
    identity: dict[str, Any] = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if ROOT else {}
    )
    return subprocess.Popen(["sleep", "60"], cwd="/", **identity)


async def test_a_stale_pid_file_is_no_obstacle(data_dir: Path) -> None:
    await _crashed(data_dir)
    async with running(data_dir) as postgres:
        assert postgres.endpoint.owned
        assert await ask(postgres.endpoint, "select n from kept") == 42


async def test_a_pid_which_another_process_got_is_no_obstacle(data_dir: Path) -> None:
    await _crashed(data_dir)
    with _stranger(data_dir) as stranger:
        pid_file = data_dir / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        lines[0] = str(stranger.pid)
        pid_file.write_text("\n".join(lines) + "\n")
        async with running(data_dir) as postgres:
            assert postgres.endpoint.owned
            assert await ask(postgres.endpoint, "select n from kept") == 42
        assert stranger.poll() is None
        stranger.kill()


async def test_a_killed_postgres_is_back_at_the_same_address(data_dir: Path) -> None:
    notes: list[str] = []
    async with running(data_dir, watched=True, notify=notes.append) as postgres:
        before = postgres.endpoint
        await ask(before, "create table kept as select 42 as n")
        first = postmaster(data_dir)
        await kill(data_dir)
        await eventually(lambda: (r := read(data_dir)) and r.ready and r.pid != first, "it is back")
        await until_answering(before)
        await eventually(lambda: any("is back" in note for note in notes), "it was told")
        assert postgres.endpoint == before
        assert await ask(before, "select n from kept", before.socket_dir) == 42


async def test_a_backend_which_computes_does_not_hold_up_the_restart(data_dir: Path) -> None:
    async with running(data_dir, watched=True) as postgres:
        connection = await login(postgres.endpoint)
        busy = await connection.fetchval("select pg_backend_pid()")
        query = asyncio.create_task(
            connection.fetchval("select count(*) from generate_series(1, 1e12::bigint)")
        )
        is_active = f"select state = 'active' from pg_stat_activity where pid = {busy}"
        while not await ask(postgres.endpoint, is_active):
            assert not query.done()
        first = postmaster(data_dir)
        await kill(data_dir)
        await eventually(lambda: (r := read(data_dir)) and r.ready and r.pid != first, "it is back")
        await eventually(lambda: busy not in processes("postgres"), "the busy backend is gone")
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await query
        await until_answering(postgres.endpoint)


async def test_repeated_crashes_are_told_and_survived(data_dir: Path) -> None:
    notes: list[str] = []
    async with running(data_dir, watched=True, notify=notes.append) as postgres:
        for time in range(1, 4):
            first = postmaster(data_dir)
            await kill(data_dir)
            await eventually(
                lambda first=first: (r := live(data_dir)) and r.ready and r.pid != first,
                "it is back",
            )
            await eventually(
                lambda time=time: sum("is back" in n for n in notes) == time, "it was told"
            )
        await until_answering(postgres.endpoint)


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
async def test_postgres_shuts_down_cleanly_when_its_owner_is_killed(
    account: Account, new_dir: Path, drive: Callable[..., Driver]
) -> None:
    driver = drive(new_dir, account)
    end = await driver.ready()
    connection = await login(end)
    pid = postmaster(new_dir)
    driver.kill()
    await eventually(lambda: not (new_dir / "postmaster.pid").exists(), "Postgres is gone")
    await eventually(lambda: pid not in processes("postgres"), "its process is gone")
    connection.terminate()
    log = new_dir.with_name("data.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log
    again = drive(new_dir, account)
    assert (await again.ready()).socket_dir == end.socket_dir
    await again.finish()
    assert "not properly shut down" not in new_dir.with_name("data.log").read_text()


async def test_a_killed_initdb_leaves_nothing(new_dir: Path) -> None:
    start = asyncio.create_task(EmbeddedPostgres(new_dir).start())
    stage = f"{new_dir.parent}/.data.initdb-"
    found = await eventually(lambda: processes(f"bin/initdb -D {stage}"), "initdb runs")
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(ConfigError, match="initdb"):
        await start
    assert names(new_dir.parent) <= {
        "data.lock",
        "data.log",
        "data.password",
    }
    async with running(new_dir) as postgres:
        assert await ask(postgres.endpoint, "select 1") == 1


async def test_initdb_goes_when_the_process_which_ran_it_is_killed(
    new_dir: Path, drive: Callable[..., Driver]
) -> None:
    driver = drive(new_dir)
    stage = f"{new_dir.parent}/.data.initdb-"
    await eventually(lambda: processes(f"bin/initdb -D {stage}"), "initdb runs")
    driver.kill()
    await eventually(lambda: not processes(stage), "initdb is gone")
    assert "data" not in names(new_dir.parent)
    async with running(new_dir) as postgres:
        assert await ask(postgres.endpoint, "select 1") == 1
    assert not list(new_dir.parent.glob(".data.initdb-*"))


def _set_mode(data_dir: Path, mode: int) -> None:
    data_dir.chmod(mode)


async def test_a_restart_which_fails_is_told_and_tried_again(data_dir: Path) -> None:
    notes: list[str] = []
    async with running(data_dir, watched=True, notify=notes.append) as postgres:
        first = postmaster(data_dir)
        _set_mode(data_dir, 0o777)  # Postgres refuses such a directory.
        await kill(data_dir)
        await eventually(
            lambda: [n for n in notes if "is down" in n and "invalid permissions" in n],
            "it is told",
        )
        _set_mode(data_dir, 0o700)
        await eventually(lambda: (r := live(data_dir)) and r.ready and r.pid != first, "it is back")
        await until_answering(postgres.endpoint)
