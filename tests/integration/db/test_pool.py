"""A caller comes back to its own connection: one round trip, one backend; others reset it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.db.batch import Batch
from fluxbase.db.line import Line
from fluxbase.db.sql import Statement, sql

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from fluxbase.principal import Principal
    from tests.world import Caller

PID = Statement(sql("SELECT current_user::text, pg_backend_pid()"))


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every word the client pools send, in order."""
    seen: list[str] = []
    send = Batch.send

    def noted(batch: Batch) -> None:
        seen.extend(read.text for read in batch.reads)
        send(batch)

    monkeypatch.setattr(Batch, "send", noted)
    for word in ("execute", "fetchrow"):
        original = getattr(Line, word)

        async def logged(
            conn: Any, text: str, *rest: Any, original: Any = original, **m: Any
        ) -> Any:
            seen.append(text)
            return await original(conn, text, *rest, **m)

        monkeypatch.setattr(Line, word, logged)
    return seen


async def test_a_key_that_comes_back_costs_one_round_trip_on_the_same_backend(
    backend: Backend, people: list[Principal], trips: list[str]
) -> None:
    first = await backend.database.read(people[0], PID)
    trips.clear()
    for _ in range(5):
        assert await backend.database.read(people[0], PID) == first
    ours = [text for text in trips if "pg_is_in_recovery" not in text and text != "SELECT 1"]
    assert ours == [PID.text] * 5


async def test_a_connection_taken_over_is_reset_in_the_trip_that_sets_the_new_role(
    backend: Backend, people: list[Principal], trips: list[str]
) -> None:
    pids = {(await backend.database.read(people[0], PID))[1]}
    trips.clear()
    row = await backend.database.read(people[1], PID)
    assert row[0] == people[1].role
    switches = [text for text in trips if "RESET" in text]
    assert len(switches) <= 1
    assert all("DISCARD TEMP" in text and people[1].role in text for text in switches)
    assert row[1] not in pids


async def test_a_write_is_four_round_trips(user1: Caller, trips: list[str], rows: None) -> None:
    await user1.call("insert_record", table="notes", data={"title": "one"})
    trips.clear()
    await user1.call("insert_record", table="notes", data={"title": "two"})
    ours = [text for text in trips if "pg_is_in_recovery" not in text and text != "SELECT 1"]
    assert [text.split()[0] for text in ours] == ["BEGIN", "SELECT", "WITH", "SET"]
    assert ours[-1].endswith("COMMIT")


async def test_a_value_the_driver_cannot_send_is_the_callers_mistake(
    backend: Backend, people: list[Principal]
) -> None:
    from fluxbase.errors import InvalidData

    statement = Statement(sql("SELECT current_user::text, $1::int8"), ("no number",))
    with pytest.raises(InvalidData):
        await backend.database.read(people[0], statement)


async def test_a_role_that_was_retired_meanwhile_is_forbidden(
    backend: Backend, people: list[Principal]
) -> None:
    from dataclasses import replace

    from fluxbase.errors import Forbidden

    for role in ("key_nowhere", "service_role"):
        with pytest.raises(Forbidden, match="can no longer be taken on"):
            await backend.database.read(replace(people[0], role=role), PID)
