"""Migrations are applied once, whole, in order, by one process at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.db import migrate
from fluxbase.db.dsn import with_database
from fluxbase.db.prepare import Logins, announce_catalog, bootstrap, prepare
from fluxbase.errors import MigrationError
from tests.integration.reliability.stand import superuser_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from fluxbase.db.types import Connection

HISTORY = "user_migrations"


@pytest.fixture
async def empty(backend: Backend, owner: Any) -> AsyncGenerator[str]:
    """The address of a fresh database on the same cluster."""
    name = "migrations_of_tests"
    await owner.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await owner.execute(f"CREATE DATABASE {name}")
    yield with_database(backend.database.logins.admin, name)
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def conn(empty: str) -> AsyncGenerator[Connection]:
    opened = await asyncpg.connect(empty)
    yield opened
    await opened.close()


def files(folder: Path, **texts: str) -> list[migrate.Migration]:
    for name, text in texts.items():
        (folder / f"{name.removeprefix('_')}.sql").write_text(text)
    return migrate.read(folder)


async def tables(conn: Connection) -> set[str]:
    rows = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_up_applies_in_order_once_and_down_undoes_the_last(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(
        tmp_path,
        _10_b="-- migrate:up\nALTER TABLE a ADD x int;\n-- migrate:down\nALTER TABLE a DROP x;",
        _9_a="-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;",
    )
    assert [m.version for m in await migrate.up(conn, HISTORY, found)] == ["9", "10"]
    assert await migrate.up(conn, HISTORY, found) == []
    assert all(s.applied_at for s in await migrate.status(conn, HISTORY, found))
    assert (await migrate.down(conn, HISTORY, found)).version == "10"
    assert [bool(s.applied_at) for s in await migrate.status(conn, HISTORY, found)] == [True, False]
    assert (await migrate.down(conn, HISTORY, found)).version == "9"
    assert await tables(conn) == set()
    with pytest.raises(MigrationError, match="no applied migration"):
        await migrate.down(conn, HISTORY, found)


async def test_status_of_an_untouched_database_changes_nothing(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(tmp_path, _1_a="-- migrate:up\nSELECT 1;")
    assert [s.applied_at for s in await migrate.status(conn, HISTORY, found)] == [None]
    assert await conn.fetchval("SELECT to_regnamespace('platform')") is None


async def test_a_file_that_changed_after_it_ran_stops_the_run(
    conn: Connection, tmp_path: Path
) -> None:
    await migrate.up(conn, HISTORY, files(tmp_path, _1_a="-- migrate:up\nSELECT 1;"))
    changed = files(
        tmp_path, _1_a="-- migrate:up\nSELECT 2;", _2_b="-- migrate:up\nCREATE TABLE b ();"
    )
    with pytest.raises(MigrationError, match="1_a was changed after it ran"):
        await migrate.up(conn, HISTORY, changed)
    assert await tables(conn) == set()


async def test_a_failure_leaves_nothing_of_its_file_and_all_of_those_before(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(
        tmp_path,
        _1_a="-- migrate:up\nCREATE TABLE a ();",
        _2_b="-- migrate:up\nCREATE TABLE b ();\nSELECT nonsense;",
        _3_c="-- migrate:up\nCREATE TABLE c ();",
    )
    with pytest.raises(
        MigrationError, match=r"2_b failed, line 2 of its SQL: .*nonsense"
    ) as caught:
        await migrate.up(conn, HISTORY, found)
    assert caught.value.hint == "nothing of this migration was applied"
    assert await tables(conn) == {"a"}
    assert await conn.fetchval("SELECT pg_try_advisory_lock($1)", migrate._LOCK)  # pyright: ignore[reportPrivateUsage]
    await conn.execute("SELECT pg_advisory_unlock_all()")


async def test_an_undo_that_fails_leaves_the_migration_applied(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(
        tmp_path, _1_a="-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE z;"
    )
    await migrate.up(conn, HISTORY, found)
    with pytest.raises(MigrationError, match="1_a failed"):
        await migrate.down(conn, HISTORY, found)
    assert [bool(s.applied_at) for s in await migrate.status(conn, HISTORY, found)] == [True]


async def test_a_migration_outside_a_transaction_may_build_an_index_concurrently(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(
        tmp_path,
        _1_a="-- migrate:up\nCREATE TABLE a (x int);",
        _2_b="-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY b ON a (x);",
        _3_c="-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY c ON a (nonsense);",
    )
    with pytest.raises(MigrationError, match="3_c failed") as caught:
        await migrate.up(conn, HISTORY, found)
    assert "outside a transaction" in str(caught.value.hint)
    assert await conn.fetchval("SELECT to_regclass('public.b') IS NOT NULL")


async def test_what_a_migration_sets_for_its_session_ends_with_it(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(
        tmp_path,
        _1_dump="-- migrate:up\nSELECT pg_catalog.set_config('search_path', '', false);",
        _2_b="-- migrate:up\nCREATE TABLE b ();",
    )
    await migrate.up(conn, HISTORY, found)
    assert await tables(conn) == {"b"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("notes", "-- migrate:up\nSELECT 1;", "a name such as"),
        ("1_a", "SELECT 1;", "'-- migrate:up' is missing"),
        ("x1_a", "-- migrate:up", "a name such as"),
    ],
)
def test_malformed_files_are_refused_by_name(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(MigrationError, match=f"{name}.sql: .*{words}"):
        files(tmp_path, **{name: text})


def test_two_files_of_one_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="another file has version 1"):
        files(tmp_path, _1_a="-- migrate:up\nSELECT 1;", _1_b="-- migrate:up\nSELECT 1;")


def test_a_folder_that_is_not_there_has_no_migrations(tmp_path: Path) -> None:
    assert migrate.read(tmp_path / "nowhere") == []


async def test_a_file_that_is_gone_is_told_and_cannot_be_undone(
    conn: Connection, tmp_path: Path
) -> None:
    await migrate.up(conn, HISTORY, files(tmp_path, _1_a="-- migrate:up\nSELECT 1;"))
    assert [s.missing for s in await migrate.status(conn, HISTORY, [])] == [True]
    with pytest.raises(MigrationError, match="the file of migration 1 is gone"):
        await migrate.down(conn, HISTORY, [])


async def test_a_migration_without_a_way_back_is_not_undone(
    conn: Connection, tmp_path: Path
) -> None:
    found = files(tmp_path, _1_a="-- migrate:up\nSELECT 1;")
    await migrate.up(conn, HISTORY, found)
    with pytest.raises(MigrationError, match="has no '-- migrate:down' part"):
        await migrate.down(conn, HISTORY, found)


async def test_ten_instances_that_start_at_once_prepare_one_database_once(
    backend: Backend, owner: Any
) -> None:
    superuser = superuser_url(backend, "postgres")
    await bootstrap(superuser, "crowd", "a password")
    conn = await asyncpg.connect(superuser)
    # Roles belong to the cluster, where another owner made them.
    roles = "anon, authenticated, service_role"
    await conn.execute(f"GRANT {roles} TO crowd_admin WITH ADMIN OPTION")
    await conn.close()

    async def start() -> object:
        url = await bootstrap(superuser, "crowd", "a password")
        logins = await prepare(
            url,
            base_url=url,
            derive=lambda login: f"password of {login}",
            migrations=True,
            roles=("authenticated",),
            login_settings={"search_path": '"public", pg_temp', "statement_timeout": "15000"},
        )
        await announce_catalog(with_database(superuser, "crowd"))
        return logins

    first, *others = await asyncio.gather(*(start() for _ in range(10)))
    assert isinstance(first, Logins)
    assert all(other == first for other in others)
    conn = await asyncpg.connect(first.admin)
    rows = await conn.fetch("SELECT version FROM platform.system_migrations ORDER BY 1")
    assert [row["version"] for row in rows] == [m.version for m in migrate.system()]
    await conn.close()
    conn = await asyncpg.connect(first.client)
    assert await conn.fetchval("SHOW statement_timeout") == "15s"
    await conn.close()
    conn = await asyncpg.connect(superuser)
    await conn.execute("DROP DATABASE crowd WITH (FORCE)")
    await conn.close()


async def test_a_server_that_may_not_migrate_says_what_is_pending(empty: str) -> None:
    with pytest.raises(MigrationError, match="migrations of the program are pending"):
        await prepare(
            empty,
            base_url=empty,
            derive=str,
            migrations=False,
            roles=(),
            login_settings={},
        )
