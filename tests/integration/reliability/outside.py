"""Servers that the program does not run itself: other databases, replicas, a pooler."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.integration.reliability.stand import eventually
from tests.programs import environment, program

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

ROOT = os.geteuid() == 0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def identity() -> dict[str, Any]:
    """Who runs a server that refuses to run as root."""
    if not ROOT:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    if ROOT:
        for one in (path, *path.rglob("*")):
            os.chown(one, identity()["user"], identity()["group"])


@asynccontextmanager
async def process(*command: str, ready: str) -> AsyncGenerator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is up when `ready` can be logged in to."""
    popen: Any = subprocess.Popen
    started: subprocess.Popen[bytes] = popen(
        command, cwd="/", env=environment(), stdout=-3, stderr=-3, **identity()
    )

    async def up() -> bool:
        assert started.poll() is None, f"{command[0]} ended"
        try:
            conn = await asyncpg.connect(ready, timeout=2, statement_cache_size=0)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await conn.close()
        return True

    try:
        await eventually(up, f"{command[0]} is up", 20)
        yield started
    finally:
        started.terminate()
        try:
            await asyncio.to_thread(started.wait, 5)
        except subprocess.TimeoutExpired:
            started.kill()
            await asyncio.to_thread(started.wait, 5)


@asynccontextmanager
async def old_cluster(home: Path, **settings: str) -> AsyncGenerator[str]:
    """Run Debian's Postgres 15, maybe with some settings, and yield the superuser's address."""
    data, port = home / "old", free_port()
    data.mkdir(mode=0o700)
    password = home / "old.password"
    password.write_text("root password\n")
    password.chmod(0o644)
    own(data)
    run: Any = subprocess.run
    run(
        [program("initdb"), "-D", str(data), "-U", "root15", "-A", "scram-sha-256",
         f"--pwfile={password}", "--no-sync", "-E", "UTF8", "--locale=C"],
        check=True, cwd="/", env=environment(), stdout=-3, **identity(),
    )  # fmt: skip
    url = f"postgresql://root15:root%20password@127.0.0.1:{port}/postgres"
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        **settings,
    }
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    async with process(program("postgres"), "-D", str(data), *words, ready=url):
        yield url


@asynccontextmanager
async def bouncer(
    home: Path, server: str, users: dict[str, str], port: int
) -> AsyncGenerator[None]:
    """Run PgBouncer in transaction mode on a port before a server (`host=… port=…`)."""
    place = home / "bouncer"
    place.mkdir()
    (place / "users").write_text("".join(f'"{n}" "{p}"\n' for n, p in users.items()))
    (place / "ini").write_text(
        f"[databases]\n* = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = scram-sha-256\nauth_file = {place}/users\npool_mode = transaction\n"
        "default_pool_size = 3\nmax_client_conn = 200\nunix_socket_dir =\n"
    )
    own(place)
    name, password = next(iter(users.items()))
    url = f"postgresql://{name}:{password}@127.0.0.1:{port}/app"
    async with process(program("pgbouncer"), str(place / "ini"), ready=url):
        yield


@asynccontextmanager
async def replica(home: Path, bin_dir: Path, primary: str) -> AsyncGenerator[tuple[str, Any]]:
    """Run a streaming replica and yield its `host:port` and its process."""
    data, port = home / "replica", free_port()
    run: Any = subprocess.run
    home.chmod(0o777)  # noqa: ASYNC240 - a system call
    run(
        [str(bin_dir / "pg_basebackup"), "-d", primary, "-D", str(data), "-X", "stream",
         "-c", "fast", "-R", "--no-sync"],
        check=True, cwd="/", **identity(),
    )  # fmt: skip
    words = ("-c", f"port={port}", "-c", "listen_addresses=127.0.0.1")
    words += ("-c", "unix_socket_directories=", "-c", "fsync=off")
    login = primary.partition("//")[2].partition("@")[0]
    url = f"postgresql://{login}@127.0.0.1:{port}/postgres"
    try:
        async with process(str(bin_dir / "postgres"), "-D", str(data), *words, ready=url) as child:
            yield f"127.0.0.1:{port}", child
    finally:
        shutil.rmtree(data, ignore_errors=True)
