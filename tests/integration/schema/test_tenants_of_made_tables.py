"""Tenants of a table that only the tools have made: each sees its own rows, whatever is altered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.schema.made import clean, refused
from tests.world import USER1, USER2

if TYPE_CHECKING:
    import asyncpg

    from tests.world import Caller

__all__ = ["clean"]
COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "title", "type": "text", "primary_key": True},
    {"name": "owner", "type": "uuid", "nullable": False, "default_value": "auth.uid()"},
    {"name": "archived", "type": "boolean", "nullable": False, "default_value": "false"},
]
OWN: Final = "owner = (SELECT auth.uid())"
FIRST: Final = {"user1": {"1a", "1b", "1 archived"}, "user2": {"2a", "2 archived"}}
ALTERED: Final = {"user1": {"1a", "1b"}, "user2": {"2a"}}
NOTHING: Final[dict[str, set[str]]] = {"user1": set(), "user2": set()}


@pytest.fixture(autouse=True)
async def made(service: Caller, owner: asyncpg.Connection[asyncpg.Record], clean: None) -> None:
    await service.call("create_table", name="made_table", columns=COLUMNS)
    await owner.execute("GRANT SELECT, INSERT, UPDATE ON public.made_table TO authenticated, anon")
    await owner.executemany(
        "INSERT INTO public.made_table VALUES ($1, $2, $3)",
        [
            (title, user, title.endswith("archived"))
            for name, user in (("user1", USER1), ("user2", USER2))
            for title in sorted(FIRST[name])
        ],
    )


async def test_each_sees_its_own_rows_before_and_after_the_policy_is_altered(
    service: Caller, user1: Caller, user2: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    users = {"user1": user1, "user2": user2}

    async def seen() -> dict[str, set[str]]:
        return {
            name: {row["title"] for row in await user.rows("made_table")}
            for name, user in users.items()
        }

    async def cannot_write_for(user: Caller, other: str) -> None:
        data = {"title": "forged", "owner": other}
        assert (
            await refused(user, "insert_record", table="made_table", data=data)
        ).code == "FLX302"

    assert await seen() == NOTHING
    await cannot_write_for(user1, USER1)
    policy = {"table": "made_table", "name": "own"}
    await service.call("create_policy", **policy, using=OWN, check=OWN)
    assert await seen() == FIRST
    await cannot_write_for(user1, USER2)
    await cannot_write_for(user2, USER1)
    narrower = await service.call("alter_policy", **policy, using=f"{OWN} AND NOT archived")
    assert await seen() == ALTERED
    await cannot_write_for(user1, USER2)
    await cannot_write_for(user2, USER1)
    change = {"table": "made_table", "data": {"archived": True}, "filter": {"title": {"eq": "1a"}}}
    assert (await user2.call("update_record", **change))["records"] == []
    others = await service.call("alter_policy", **policy, roles=["anon"])
    assert await seen() == NOTHING
    await service.call("rename_policy", **policy, new_name="mine")
    await owner.execute(others["down"].replace('"own"', '"mine"'))
    assert await seen() == ALTERED
    await owner.execute(narrower["down"].replace('"own"', '"mine"'))
    assert await seen() == FIRST
    await service.call("drop_policy", table="made_table", name="mine")
    assert await seen() == NOTHING


async def test_a_policy_that_is_tried_shows_nobody_more(
    service: Caller, user1: Caller, user2: Caller
) -> None:
    policy = {"table": "made_table", "name": "own"}
    await service.call("create_policy", **policy, using=OWN)
    await service.call("alter_policy", **policy, using="true", roles=[], dry_run=True)
    assert {row["title"] for row in await user1.rows("made_table")} == FIRST["user1"]
    assert {row["title"] for row in await user2.rows("made_table")} == FIRST["user2"]
