"""Reads go together on encrypted connections too, on either event loop."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fluxbase.db import batcher
from fluxbase.db.held import Identity
from fluxbase.db.pool import Pool
from fluxbase.db.sql import Statement, sql
from tests.integration.reliability.outside import old_cluster, own

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHO = Identity("root15", "{}")
READ = sql(
    "SELECT current_user::text, $1::int AS n, repeat('x', $1), pg_backend_pid() AS pid, "
    "(SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted"
)


def certificate(folder: Path) -> dict[str, str]:
    """Make one, and return the settings of a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .sign(key, hashes.SHA256())
    )
    text = serialization.Encoding.PEM
    paths = {"ssl_cert_file": folder / "tls.crt", "ssl_key_file": folder / "tls.key"}
    paths["ssl_cert_file"].write_bytes(made.public_bytes(text))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths["ssl_key_file"].write_bytes(key.private_bytes(text, form, plain))
    paths["ssl_key_file"].chmod(0o600)
    for path in paths.values():
        own(path)
    return {"ssl": "on", **{name: str(path) for name, path in paths.items()}}


async def alone(pool: Pool, number: int) -> Any:
    """Ask by the driver."""
    held = await pool.acquire(WHO)
    row = await held.raw.fetchrow(READ, number)
    pool.release(held)
    pool.batcher.note(READ, 0.0001)
    return row


async def together(pool: Pool, *numbers: int) -> list[Any]:
    """Ask in a batch."""
    asked = [pool.batcher.join(WHO, Statement(READ, (number,))) for number in numbers]
    return [await row for row in asked if row is not None]


async def both_ways_in_turn(home: Path) -> None:
    async with old_cluster(home, **certificate(home)) as url:
        pool = Pool(
            f"{url}?sslmode=require",
            name="encrypted",
            size=4,
            settings={},
            acquire_timeout=10,
            connect_timeout=10,
            max_age=60,
        )
        pids = {(await alone(pool, 1))["pid"]}
        for _ in range(3):
            # The last is longer than what TLS or the loop hand out at once.
            found = await together(pool, 0, 7, 300_000)
            assert [(row["n"], len(row[2]), row["encrypted"]) for row in found] == [
                (n, n, 1) for n in (0, 7, 300_000)
            ]
            pids |= {row["pid"] for row in found} | {(await alone(pool, 2))["pid"]}
        assert len(pids) == 1
        await pool.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_reads_go_together_on_an_encrypted_connection(
    loop: Callable[[], asyncio.AbstractEventLoop],
    rough_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher, "_LONGEST", 60.0)
    home = rough_home / loop.__module__
    home.mkdir()
    own(home)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(both_ways_in_turn(home))
