"""Whatever SQL leaves behind on a connection, the next borrowers find it clean.

Each attack is planted behind what a caller can reach: a policy, a view, triggers, a default, a
generated column. The pools have one connection each, so every borrower takes the poisoned one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.db import held as helds
from fluxbase.db import session as sessions
from fluxbase.db.database import Database
from fluxbase.db.sql import Statement, sql
from fluxbase.errors import FluxbaseError
from tests.security.traps import ATTACKS, READING, WRITING, Borrower
from tests.world import USER1, USER2, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from tests.security.conftest import Tight

PLACES = (*READING, *WRITING)
# Fifty borrowers where reads and where writes are poisoned; the other places differ only in who
# calls the function, and get a few.
BORROWERS = {"in_policy": 50, "in_trigger": 50}
FEW = 8


async def spring(tight: Tight, owner: Any, caller: str, place: str, orders: str) -> str | None:
    """Run `orders` as the caller through `place`; return the code of the refusal, if refused."""
    attacker = tight.callers[caller]
    try:
        if place in READING:
            table = "below_view" if place == "in_view" else place
            await owner.execute(f"TRUNCATE traps.{table}")
            await owner.execute(f"INSERT INTO traps.{table} VALUES (1, $1)", orders)
            await attacker.rows(place, filter={"id": 1})
        else:
            await owner.execute("TRUNCATE traps.latest")
            await owner.execute("INSERT INTO traps.latest VALUES ($1)", orders)
            data = {"id": 1} if place == "in_default" else {"id": 1, "orders": orders}
            await attacker.call("insert_record", table=place, data=data, returning="")
    except Refused as refused:
        return refused.code
    return None


def borrowers(tight: Tight, names: Iterable[str], place: str = "") -> list[Borrower]:
    """Return readers and writers of every identity in turn."""
    kinds = [Borrower(tight.who[n], writes) for n in names for writes in (False, True)]
    return [kinds[turn % len(kinds)] for turn in range(BORROWERS.get(place, FEW))]


async def references(tight: Tight, fresh: Database, who: list[Borrower]) -> list[dict[str, Any]]:
    """Return what each borrower finds on connections that nobody has touched."""
    known: dict[tuple[str, bool], dict[str, Any]] = {}
    for one in who:
        key = (one.who.id, one.writes)
        known[key] = known.get(key) or await one.state(fresh)
    return [known[one.who.id, one.writes] for one in who]


async def state_or_code(one: Borrower, tight: Tight) -> dict[str, Any] | str:
    """Return what a borrower finds, or the code of the refusal."""
    try:
        return await one.state(tight.database)
    except FluxbaseError as error:
        return error.code


@pytest.fixture
async def clean(tight: Tight) -> Any:
    """Connections of the same logins that no attack ever reaches."""
    database = Database(tight.database.config, tight.database.logins)
    await database.open()
    yield database
    await database.close()


@pytest.mark.parametrize("place", PLACES)
async def test_the_next_fifty_borrowers_of_a_client_connection_are_clean(
    place: str, tight: Tight, clean: Database, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    # The attacker itself comes again only to write: what a read left to its own identity is the
    # subject of another test.
    others = [
        *borrowers(tight, ("user2", "token", "nobody"), place),
        Borrower(tight.who["user1"], writes=True),
    ]
    expected = await references(tight, clean, others)
    for name, orders in ATTACKS.items():
        await spring(tight, owner, "user1", place, orders)
        found = [await one.state(tight.database) for one in others]
        assert found == expected, f"{name} in {place} reached the next borrower"
        assert tight.database.states()[0].in_use == 0


@pytest.mark.parametrize("place", PLACES)
async def test_the_next_fifty_borrowers_of_a_service_connection_are_clean(
    place: str, tight: Tight, clean: Database, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    others = borrowers(tight, ("service_reader",), place)
    expected = await references(tight, clean, others)
    for name, orders in ATTACKS.items():
        await spring(tight, owner, "service", place, orders)
        found = [await one.state(tight.database) for one in others]
        assert found == expected, f"{name} in {place} reached the next borrower"


@pytest.mark.parametrize("place", READING)
async def test_a_read_that_changes_its_role_gives_no_answer(
    place: str, tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    for name in ("become_authenticated", "reset_role", "set_role_none", "reset_authorization"):
        assert await spring(tight, owner, "user1", place, ATTACKS[name]), name
        again = await Borrower(tight.who["user1"], writes=False).state(tight.database)
        assert (again["current_user"], again["uid"]) == (tight.who["user1"].role, USER1)


@pytest.mark.parametrize("place", READING)
async def test_a_client_connection_never_becomes_service_role_nor_another_login(
    place: str, tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    powerful = [name for name in ATTACKS if "service" in name or name.startswith("become_the")]
    for name in powerful:
        code = await spring(tight, owner, "user1", place, ATTACKS[name])
        assert code == "FLX302", name


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_what_a_read_leaves_to_its_own_identity_is_never_another_identity(
    name: str, tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    # Accepted: a setting planted by a read stays for later reads of the *same* identity on that
    # connection, because a reset would cost each read a round trip. It gains nothing: who reaches
    # SQL can plant the setting in the same statement. Role and key identity must hold all the same.
    await spring(tight, owner, "user1", "in_policy", ATTACKS[name])
    same = Borrower(tight.who["user1"], writes=False)
    for _ in range(3):
        state = await state_or_code(same, tight)
        if isinstance(state, str):
            assert state in ("FLX503", "FLX901"), name
            continue
        assert state["current_user"] == tight.who["user1"].role
        assert state["uid"] == USER1
        assert state["jwt"]["sub"] == USER1


async def test_a_temporary_table_cannot_be_made_to_shadow_a_real_one(
    tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    for place in PLACES:
        assert await spring(tight, owner, "user1", place, ATTACKS["temp_table"]) is not None
        assert await spring(tight, owner, "user1", place, ATTACKS["temp_view"]) is not None


async def test_a_planted_prepared_statement_is_never_run_for_the_next_borrower(
    tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    # The reset keeps prepared statements. Names of the driver's own are taken by Parse, which
    # refuses a name that exists, so a planted one costs at most one connection, never an answer.
    for number in range(64):
        orders = (
            f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT '{tight.who['user2'].role}'::text, "
            "'{\"forged\": true}'::text"
        )
        await spring(tight, owner, "user1", "in_policy", orders)
    for one in borrowers(tight, ("user2", "token")):
        state = await state_or_code(one, tight)
        assert state == "FLX901" or "forged" not in state


# Planted controls: with the guard off, the same attacks reach the next borrower.


@pytest.mark.parametrize(
    ("without", "attack", "shows"),
    [
        ("RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; ", "forge_sub", "sub"),
        ("RESET ALL; ", "search_path", "settings"),
        ("RESET ALL; ", "read_write", "settings"),
        ("RESET ALL; ", "own_setting", "planted"),
        ("SELECT pg_advisory_unlock_all(); ", "advisory_lock", "locks"),
        ("CLOSE ALL; ", "held_cursor", "cursors"),
        ("UNLISTEN *; ", "listen", "channels"),
    ],
)
async def test_control_without_its_part_of_the_reset_an_attack_reaches_the_next_borrower(
    without: str,
    attack: str,
    shows: str,
    tight: Tight,
    clean: Database,
    owner: asyncpg.Connection[asyncpg.Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert without in helds.RESET
    weaker = sql("").join([helds.RESET.replace(without, "")])
    next_one = Borrower(tight.who["user2"], writes=False)
    expected = await next_one.state(clean)
    with monkeypatch.context() as patch:
        patch.setattr(helds, "RESET", weaker)
        patch.setattr(sessions, "RESET", weaker)
        await spring(tight, owner, "user1", "in_policy", ATTACKS[attack])
        found = await next_one.state(tight.database)
    assert found[shows] != expected[shows]
    for name in ("user1", "user2"):  # the whole reset again, on the way out
        await Borrower(tight.who[name], writes=True).state(tight.database)


async def test_control_without_the_check_of_the_role_a_read_answers_as_somebody_else(
    tight: Tight, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    # The same statement outside of `Database.read`, which compares the role with the caller's.
    other = tight.who["user2"].role
    held = await tight.database._client.acquire(helds.Identity.of(tight.who["user1"]))  # pyright: ignore[reportPrivateUsage]
    try:
        await held.raw.execute(f"SET ROLE {other}")
        row = await held.raw.fetchrow("SELECT current_user::text, auth.uid()::text")
        assert row is not None
        assert tuple(row) == (other, USER2)
    finally:
        tight.database._client.release(held)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(FluxbaseError) as refused:
        await tight.database.read(
            tight.who["user1"], Statement(sql("SELECT current_user::text, auth.uid()::text"))
        )
    assert refused.value.code == "FLX901"
