"""Reads of one moment go together: each gets its own row, and none suffers from another."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.db.batch import Batch
from fluxbase.db.sql import Statement, sql
from fluxbase.errors import FluxbaseError, InternalError, InvalidData
from tests.integration.db.together import Reader, echo, gone, new, of_pid, sleeping, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.app.backend import Backend
    from fluxbase.principal import Principal
    from tests.integration.db.together import Owner

pytestmark = pytest.mark.usefixtures("patient")


async def test_reads_of_one_moment_take_one_connection(
    reader: Reader, sent: list[list[str]]
) -> None:
    pid = of_pid()
    await reader.ask(pid)
    sent.clear()
    found = await reader.together(*[pid] * 7)
    assert {row["pid"] for row in found} == {found[0][1]}
    assert sent == [[pid.text] * 7]


async def test_each_read_gets_its_own_row(reader: Reader, sent: list[list[str]]) -> None:
    picked = random.Random(7)  # noqa: S311 - a sample
    words = ["", "x", "é€", "'; --", "\\", "\t\n"]
    values = [
        (picked.choice((0, 1, 2, 9, 40_000)), picked.choice(words), picked.choice([*words, None]))
        for _ in range(200)
    ]
    text = echo()
    await reader.ask(Statement(text, values[0]))
    found = await reader.together(*(Statement(text, value) for value in values))
    assert [tuple(row) for row in found] == [
        (reader.who.role, n, word * n, more) for n, word, more in values
    ]
    assert max(map(len, sent)) > 1


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
async def test_rows_that_come_in_pieces_are_put_together(
    reader: Reader, sent: list[list[str]], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    whole = Batch.data_received

    def in_pieces(batch: Batch, data: bytes) -> None:
        for at in range(0, len(data), size):
            whole(batch, data[at : at + size])

    monkeypatch.setattr(Batch, "data_received", in_pieces)
    # The second text is new to this connection, so its columns are told between the rows.
    texts = [echo(), echo()]
    for text in texts:
        await reader.ask(Statement(text, (1, "x", None)))
    sent.clear()
    asked = [Statement(text, (n, "ab", "c")) for n in (0, 3, 300) for text in texts]
    found = await reader.together(*asked)
    assert [row["said"] for row in found] == ["ab" * n for n in (0, 0, 3, 3, 300, 300)]
    assert sent == [[statement.text for statement in asked]]


async def test_callers_share_no_batch(
    backend: Backend, people: list[Principal], sent: list[list[str]]
) -> None:
    pid = of_pid()
    readers = [Reader(backend, who) for who in people]
    for reader in readers:
        await reader.ask(pid)
    sent.clear()
    found = await asyncio.gather(*(reader.together(pid, pid) for reader in readers))
    for reader, rows in zip(readers, found, strict=True):
        assert [row[0] for row in rows] == [reader.who.role] * 2
    assert {row["pid"] for row in found[0]} & {row["pid"] for row in found[1]} == set()
    assert sent == [[pid.text] * 2] * 2


async def test_a_refused_read_gets_the_drivers_error_and_the_others_their_rows(
    reader: Reader, sent: list[list[str]]
) -> None:
    ratio = new("10 / $1::int")
    await reader.ask(Statement(ratio, (1,)))
    found = await reader.together(*(Statement(ratio, (n,)) for n in (1, 0, 2)))
    assert [found[0][1], found[2][1]] == [10, 5]
    assert isinstance(found[1], InvalidData)
    assert "division by zero" in str(found[1].__cause__)
    assert sent == [[ratio] * 3]


async def test_reads_whose_connection_breaks_off_are_asked_again(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    asked = asyncio.gather(*(reader.ask(Statement(text, (n,))) for n in ("2", "0", "0.0")))
    await until(overseer, text, running=1)
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1"
    await overseer.fetch(query, text)
    assert [row[2] for row in await asked] == ["2", "0", "0.0"]
    assert sent == [[text] * 3]


async def test_a_table_that_changed_is_read_as_it_is_now(
    reader: Reader, sent: list[list[str]], owner: Owner
) -> None:
    statement = Statement(sql("SELECT current_user::text, a, pg_backend_pid() FROM public.changed"))
    await owner.execute(
        "CREATE TABLE public.changed (a int); INSERT INTO public.changed VALUES (5); "
        "GRANT SELECT ON public.changed TO public"
    )
    try:
        await reader.ask(statement)
        assert [row["a"] for row in await reader.together(*[statement] * 2)] == [5, 5]
        await owner.execute("ALTER TABLE public.changed ALTER a TYPE text USING 'five'")
        assert [row["a"] for row in await reader.together(*[statement] * 2)] == ["five"] * 2
        assert len(sent) == 2
    finally:
        await owner.execute("DROP TABLE public.changed")


async def test_a_role_that_is_not_the_callers_answers_nobody(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sql("SELECT coalesce($1, current_user::text), pg_backend_pid()")
    mine, other = Statement(text, (None,)), Statement(text, ("postgres",))
    await reader.ask(mine)
    before = await reader.together(mine, mine)
    found = await reader.together(mine, other, mine)
    assert isinstance(found[1], InternalError)
    assert [found[0][0], found[2][0]] == [reader.who.role] * 2
    assert found[0][1] == before[0][1]
    assert len(sent) == 2
    await gone(overseer, found[0][1])


async def test_a_setting_that_the_driver_watches_ends_the_connection(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sql("SELECT current_user::text, pg_backend_pid(), set_config($1, $2, false)")
    words = ("request.quiet", "TimeZone")
    quiet, loud = (Statement(text, (word, "Asia/Tokyo")) for word in words)
    await reader.ask(quiet)
    found = await reader.together(quiet, loud, quiet)
    assert [row[2] for row in found] == ["Asia/Tokyo"] * 3
    assert len(sent) == 1
    await gone(overseer, found[0][1])
    # Which of them it was is not known, so the kind goes alone for a while.
    await reader.together(quiet, loud)
    assert len(sent) == 1


async def test_values_and_columns_of_other_types_are_left_to_the_driver(
    reader: Reader, sent: list[list[str]]
) -> None:
    lists = Statement(sql("SELECT current_user::text, $1::text[]"), (["a", "b"],))
    moments = Statement(sql("SELECT current_user::text, 'epoch'::timestamptz AS at"))
    broken = Statement(sql("SELECT current_user::text, $1::text"), ("\ud800",))
    long = Statement(broken.text, ("x" * 100_000,))
    for statement in (lists, moments, long):
        await reader.ask(statement)
        first, second = await reader.together(statement, statement)
        assert first[1] == second[1] == (await reader.ask(statement))[1]
    for refused in await reader.together(broken, broken):
        assert isinstance(refused, FluxbaseError)
    assert sent == [[moments.text] * 2]


async def test_more_reads_than_connections_go_together_too(
    reader: Reader, sent: list[list[str]], backend: Backend
) -> None:
    pid = of_pid()
    size = backend.config.database.client_pool_size
    await reader.ask(pid)
    await asyncio.gather(*(reader.ask(Statement(sleeping(), ("0.1",))) for _ in range(size)))
    sent.clear()
    asked = [reader.ask(Statement(sleeping(), ("0.3",))) for _ in range(size)]
    busy = [asyncio.create_task(one) for one in asked]
    await asyncio.sleep(0.1)  # every connection is at work
    found = await reader.together(*[pid] * 40)
    await asyncio.gather(*busy)
    assert {row[0] for row in found} == {reader.who.role}
    assert sorted(map(len, sent)) == [8] * 5


async def test_a_batch_that_cannot_be_sent_goes_alone(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = of_pid()

    def fails(_batch: Batch) -> None:
        raise RuntimeError

    await reader.ask(pid)
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "send", fails)
        found = await reader.together(pid, pid)
    assert [row[0] for row in found] == [reader.who.role] * 2


async def test_nothing_is_sent_on_a_connection_that_closes(
    reader: Reader, backend: Backend, sent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = of_pid()

    class Closing:
        def is_closing(self) -> bool:
            return True

    pool: Any = backend.database._client  # pyright: ignore[reportPrivateUsage]
    await reader.ask(pid)
    sent.clear()
    with monkeypatch.context() as patch:
        for held in pool._idle:
            patch.setattr(held.raw, "transport", Closing())
        found = await reader.together(pid, pid)
    assert [row[0] for row in found] == [reader.who.role] * 2
    assert sent == []


async def test_no_connection_prepares_more_than_it_may(
    reader: Reader, sent: list[list[str]]
) -> None:
    asked = [Statement(text) for text in _numbered(400)]
    for statement in asked:
        await reader.ask(statement)
    for _ in range(2):
        for statement in asked:
            await reader.together(statement)
    counted = Statement(
        sql(
            "SELECT current_user::text, count(*) FROM pg_prepared_statements "
            "WHERE name LIKE 'fluxbase%'"
        )
    )
    await reader.ask(counted)
    assert 200 < (await reader.together(counted))[0][1] <= 258
    assert len(sent) == 801


def _numbered(many: int) -> Iterable[Any]:
    return (f"SELECT current_user::text, {number}" for number in range(many))
