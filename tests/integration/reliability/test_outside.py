"""Databases that are not ours: an owner without great rights, a pooler, an old Postgres."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from fluxbase.app.backend import open_backend
from fluxbase.errors import ConfigError, MigrationError
from tests.conftest import config_for
from tests.integration.reliability.outside import bouncer, free_port, old_cluster
from tests.integration.reliability.stand import LEDGER, Stand, login, stand
from tests.world import USER1, USER2, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.integration.reliability.conftest import Outer

LEDGER_AGAIN = (
    "DROP TABLE IF EXISTS public.ledger, public.sticky, public.late_word CASCADE;"
    "DROP FUNCTION IF EXISTS public.slow, public.drag, public.linger CASCADE;"
) + LEDGER


@pytest.fixture(scope="session")
async def let(outer: Outer, rough_home: Path) -> AsyncGenerator[Stand]:
    """A server whose database belongs to an ordinary role with CREATEROLE."""
    async with stand(rough_home, LEDGER_AGAIN, database=outer.config(rough_home)) as opened:
        yield opened


async def both_tenants(at: Stand, rounds: int = 25) -> None:
    """Write and read as two tenants at once and see that each has its own rows only."""

    async def live(name: str, user: str, place: int) -> None:
        async with at.caller(name) as caller:
            for n in range(rounds):
                number = place * 1000 + n
                data = {"n": number}
                made = await caller.call("insert_record", table="ledger", data=data)
                assert made["records"] == [{"n": number, "owner": user}]
                rows = (await caller.call("query_table", table="ledger", limit=1000))["rows"]
                assert {row["owner"] for row in rows} == {user}
                assert number in {row["n"] for row in rows}
                counted = await caller.call("count_records", table="ledger", filter=data)
                assert counted["count"] == 1

    users = (("user1", USER1), ("user2", USER2))
    lives = [live(*users[place % 2], place) for place in range(8)]
    await asyncio.gather(*lives)


async def test_an_owner_without_bypassrls_can_run_it_all(let: Stand) -> None:
    assert not let.backend.announced
    await both_tenants(let, 5)
    lints = {finding.lint for finding in let.server.findings}
    assert lints == {"service_role_obeys_rls"}
    async with let.caller("service") as service:
        # service_role is not above policies here, and doctor says so.
        assert await service.rows("ledger", limit=1000) == []
    assert (await let.backend.keys.get("client_key", "user1"))["status"] == "active"


async def test_keys_live_and_die_under_an_ordinary_owner(let: Stand) -> None:
    from fluxbase.auth.keys import NewKey

    made = await let.backend.keys.create("client_key", NewKey("passing", ("read:tables",)))
    await let.backend.keys.update("client_key", made.id, {"role": "anon"})
    await let.backend.keys.rotate("client_key", made.id)
    await let.backend.keys.revoke("client_key", made.id)
    await let.backend.keys.delete("client_key", made.id)
    async with let.owner() as conn:
        role = f"key_{made.id}"
        assert not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)


async def test_changes_are_found_without_an_event_trigger(let: Stand) -> None:
    async with let.owner() as conn, let.caller() as one:
        assert "ledger" in str(await one.call("list_tables"))
        await conn.execute(
            "CREATE TABLE public.later (id int); ALTER TABLE public.later ENABLE ROW LEVEL "
            "SECURITY; GRANT SELECT ON public.later TO authenticated"
        )
        try:
            async with asyncio.timeout(2):
                while True:
                    try:
                        assert await one.rows("later") == []
                        break
                    except Refused:
                        await asyncio.sleep(0.05)
        finally:
            await conn.execute("DROP TABLE public.later")


@pytest.mark.slow
async def test_two_tenants_share_a_transaction_pooler(outer: Outer, rough_home: Path) -> None:
    port = free_port()
    pooled = outer.owner.replace(f":{outer.port}/", f":{port}/")
    database = outer.config(rough_home, url=pooled, direct_url=outer.owner, pooler="transaction")
    async with stand(rough_home, LEDGER_AGAIN, database=database) as at:
        users: dict[str, str] = {}
        for url in (at.backend.database.logins.client, at.backend.database.logins.service):
            parts = urlsplit(url)
            assert parts.port == port
            users[str(parts.username)] = str(parts.password)
        async with bouncer(rough_home, f"host=127.0.0.1 port={outer.port}", users, port):
            await both_tenants(at)
            async with at.caller("service") as service:
                assert await service.rows("ledger") == []
            async with at.caller() as one:
                with pytest.raises(Refused, match="FLX302"):
                    await one.call("insert_record", table="ledger", data={"n": 1, "owner": USER2})
                tried = await one.call(
                    "insert_record", table="ledger", data={"n": 77777}, dry_run=True
                )
                assert tried["inserted"] == 1
                assert await one.rows("ledger", filter={"n": 77777}) == []
            over = await login(f"{outer.superuser}/app")
            client = urlsplit(at.backend.database.logins.client).username
            lose = "SELECT count(pg_terminate_backend(pid, 1000)) FROM pg_stat_activity"
            assert await over.fetchval(f"{lose} WHERE usename = $1", client)
            await over.execute("TRUNCATE public.ledger")
            await over.close()
            await both_tenants(at, 2)


async def test_a_pooler_without_a_direct_address_is_refused(outer: Outer, rough_home: Path) -> None:
    config = config_for(rough_home, database=outer.config(rough_home, pooler="transaction"))
    with pytest.raises(ConfigError, match="direct_url"):
        async with open_backend(config):
            pass


@pytest.mark.slow
async def test_postgres_15_works_and_one_without_pgvector_says_so(
    rough_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with old_cluster(rough_home) as superuser:
        conn = await login(superuser)
        await conn.execute("CREATE ROLE old LOGIN CREATEROLE PASSWORD 'old'")
        await conn.execute("CREATE DATABASE old OWNER old")
        await conn.close()
        address = superuser.partition("@")[2].replace("/postgres", "/old")
        url = f"postgresql://old:old@{address}"
        config = config_for(rough_home, database={"url": url})
        with pytest.raises(MigrationError, match='extension "vector" is not available'):
            async with open_backend(config, notify=lambda _: None):
                pass
        _without_vector(monkeypatch)
        async with stand(rough_home, LEDGER_AGAIN, database={"url": url}) as at:
            await both_tenants(at, 3)
            await at.backend.keys.delete("client_key", "user2")
            async with at.caller("service") as service:
                # Up to 15, who may create roles may make service_role a member of the owner.
                assert await service.rows("ledger", limit=1) != []
            async with at.caller() as one:
                with pytest.raises(Refused, match="FLX602"):
                    await one.rows("ledger", filter={"n": "eq.none"})


def _without_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12 has no pgvector for its Postgres: leave it out, and nothing else."""
    from dataclasses import replace

    from fluxbase.db import migrate

    original = migrate.system

    def system() -> list[migrate.Migration]:
        line = "CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions;"
        return [replace(m, up=m.up.replace(line, "")) for m in original()]

    monkeypatch.setattr(migrate, "system", system)
