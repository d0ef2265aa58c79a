"""What changes in the schema shows for callers within a second, announced or not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.app.server import Server
from fluxbase.db.dsn import database_of
from tests.integration.reliability.stand import Stand, eventually, login, superuser_url
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fluxbase.app.backend import Backend


MADE = """
CREATE TABLE public.fresh (id int PRIMARY KEY, body text);
ALTER TABLE public.fresh ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON public.fresh USING (true);
GRANT SELECT ON public.fresh TO authenticated;
"""
# Each step, and what describe_table tells after it.
STEPS: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
    (MADE, lambda t: [c["name"] for c in t["columns"]] == ["id", "body"]),
    ("ALTER TABLE public.fresh ADD extra int", lambda t: "extra" in str(t["columns"])),
    ("COMMENT ON TABLE public.fresh IS 'said'", lambda t: "said" in str(t)),
    ("COMMENT ON COLUMN public.fresh.body IS 'told'", lambda t: "told" in str(t["columns"])),
    ("GRANT INSERT ON public.fresh TO authenticated", lambda t: "insert" in str(t["privileges"])),
    (
        "REVOKE INSERT ON public.fresh FROM authenticated",
        lambda t: "insert" not in str(t["privileges"]),
    ),
    (
        "ALTER TABLE public.fresh RENAME extra TO renamed",
        lambda t: "renamed" in str(t["columns"]),
    ),
    (
        "REVOKE SELECT ON public.fresh FROM authenticated; "
        "GRANT SELECT (id) ON public.fresh TO authenticated",
        lambda t: [c["name"] for c in t["columns"]] == ["id"],
    ),
]


async def told(caller: Caller) -> dict[str, Any]:
    try:
        return await caller.call("describe_table", table="fresh")
    except Refused:
        return {"columns": [], "privileges": []}


async def follow(caller: Caller, owner: Any) -> None:
    try:
        for step, shows in STEPS:
            await owner.execute(step)

            async def shown(shows: Callable[[dict[str, Any]], bool] = shows) -> bool:
                return shows(await told(caller))

            await eventually(shown, step, 1.5)
        await owner.execute("ALTER TABLE public.fresh DISABLE ROW LEVEL SECURITY")

        async def hidden() -> bool:
            return not (await told(caller))["columns"]

        await eventually(hidden, "an unprotected table is hidden", 1.5)
        await owner.execute("ALTER TABLE public.fresh ENABLE ROW LEVEL SECURITY")

        async def back() -> bool:
            return not await hidden()

        await eventually(back, "it is back", 1.5)
    finally:
        await owner.execute("DROP TABLE IF EXISTS public.fresh")
    await eventually(hidden, "a dropped table is gone", 1.5)


async def test_changes_are_announced(user1: Caller, owner: Any) -> None:
    await follow(user1, owner)


@pytest.mark.slow
async def test_changes_are_found_where_nothing_announces_them(
    backend: Backend, user1: Caller, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with unannounced(backend):
        await follow(user1, owner)


@asynccontextmanager
async def unannounced(backend: Backend) -> AsyncGenerator[None]:
    """Disable the event triggers and run a server that has to look for itself."""
    conn = await login(superuser_url(backend, database_of(backend.database.logins.admin)))
    names = ("fluxbase_catalog_changed", "fluxbase_catalog_dropped")
    for name in names:
        await conn.execute(f"ALTER EVENT TRIGGER {name} DISABLE")
    blind = replace(backend, announced=False, postgres=None)
    try:
        async with Server(blind).running():
            yield
    finally:
        for name in names:
            await conn.execute(f"ALTER EVENT TRIGGER {name} ENABLE")
        await conn.close()


async def test_a_listener_that_was_cut_off_comes_back_and_misses_nothing(calm: Stand) -> None:
    async with calm.superuser() as conn, calm.caller() as one, calm.owner() as owner:
        await told(one)
        assert await conn.fetchval(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE application_name = 'fluxbase listen'"
        )
        await owner.execute(MADE)  # announced while nobody listens

        async def shown() -> bool:
            return bool((await told(one))["columns"])

        try:
            await eventually(shown, "the new table is seen", 3)
        finally:
            await owner.execute("DROP TABLE public.fresh")
