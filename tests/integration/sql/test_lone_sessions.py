"""A session is kept for its caller's next statement, empty, for a moment, and for nobody else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.db import lone_sessions
from fluxbase.db.lone_sessions import AT_ONCE
from fluxbase.principal import Principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from fluxbase.app.backend import Backend

    Owner = asyncpg.Connection[asyncpg.Record]

COUNT: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fluxbase sql'"
# What one statement may leave in its session, and what the next one would see of it.
LEFT: Final = [
    (
        "SELECT set_config('request.jwt.claims', '{}', false)",
        "nullif(current_setting('request.jwt.claims', true), '')",
    ),
    ("SELECT set_config('search_path', 'hidden', false)", "current_setting('search_path')"),
    ("SELECT set_config('statement_timeout', '1', false)", "current_setting('statement_timeout')"),
    ("SELECT set_config('role', 'authenticated', false)", "current_user"),
    (
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "current_setting('transaction_read_only')",
    ),
    (
        "SELECT pg_advisory_lock(77)",
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    ("PREPARE left_over AS SELECT 1", "(SELECT count(*) FROM pg_prepared_statements)"),
    (
        "DECLARE left_over CURSOR WITH HOLD FOR SELECT 1",
        "(SELECT count(*) FROM pg_cursors WHERE name = 'left_over')",
    ),
    ("LISTEN left_over", "(SELECT count(*) FROM pg_listening_channels())"),
]


def who(sql_keys: dict[str, tuple[str, str]], name: str) -> Principal:
    id_ = sql_keys[name][0]
    return Principal(
        kind="client_key", id=id_, name=name, role=f"key_{id_}", claims="{}", scopes=frozenset()
    )


@pytest.fixture(autouse=True)
async def none_kept(backend: Backend) -> AsyncGenerator[None]:
    await backend.database.alone.close()
    yield
    await backend.database.alone.close()


async def pid(backend: Backend, caller: Principal, *, write: bool = False) -> Any:
    async with backend.database.alone.open(caller, write=write) as session:
        rows = await session.read("SELECT pg_backend_pid()", [], 1, 1000)
        return rows.rows[0]


async def test_the_next_statement_of_a_caller_has_the_same_session(
    backend: Backend, sql_keys: dict[str, tuple[str, str]]
) -> None:
    one, two = who(sql_keys, "one"), who(sql_keys, "two")
    first = await pid(backend, one)
    assert await pid(backend, one) == first
    assert await pid(backend, two) != first
    # One that may write has settings of its own.
    assert await pid(backend, one, write=True) != first
    assert await pid(backend, one) == first


@pytest.mark.parametrize(("left", "seen"), LEFT)
async def test_nothing_of_a_statement_is_left_to_the_next(
    backend: Backend, sql_keys: dict[str, tuple[str, str]], left: str, seen: str
) -> None:
    caller = who(sql_keys, "one")

    async def state() -> Any:
        async with backend.database.alone.open(caller, write=False) as session:
            rows = await session.read(f"SELECT {seen} AS x, pg_backend_pid() AS pid", [], 1, 1000)
            return rows.rows[0]

    before = await state()
    async with backend.database.alone.open(caller, write=False) as session:
        await session.run(left, [])
        await session.keep()
    assert await state() == before


async def test_no_more_are_kept_than_are_lent_at_once(
    backend: Backend, sql_keys: dict[str, tuple[str, str]], owner: Owner
) -> None:
    for name in ("one", "two", "reader", "narrow", "read_only"):
        await pid(backend, who(sql_keys, name))
        await pid(backend, who(sql_keys, name), write=True)
    end = time.monotonic() + 10
    while await owner.fetchval(COUNT) != AT_ONCE:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_session_that_waits_for_nothing_is_closed(
    backend: Backend,
    sql_keys: dict[str, tuple[str, str]],
    owner: Owner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lone_sessions, "KEPT", 0.1)
    await pid(backend, who(sql_keys, "one"))
    end = time.monotonic() + 10
    while await owner.fetchval(COUNT):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_session_that_died_meanwhile_is_replaced(
    backend: Backend, sql_keys: dict[str, tuple[str, str]]
) -> None:
    caller = who(sql_keys, "one")
    first = await pid(backend, caller)
    async with backend.database.alone.open(caller, write=True) as session:
        await session.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'fluxbase sql' AND pid <> pg_backend_pid()",
            [],
        )
        again = await pid(backend, caller)
    assert again != first


async def test_one_that_is_given_up_while_it_works_is_not_kept_in_that_state(
    backend: Backend, sql_keys: dict[str, tuple[str, str]]
) -> None:
    caller = who(sql_keys, "one")

    async def slow() -> None:
        async with backend.database.alone.open(caller, write=False) as session:
            await session.run("SELECT pg_sleep(60)", [])

    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await pid(backend, caller)
