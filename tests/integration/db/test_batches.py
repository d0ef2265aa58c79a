"""Reads of one moment go together: each gets its own row, and none suffers from another."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.db import batcher, reads
from fluxbase.db.batch import Batch
from fluxbase.db.held import Identity
from fluxbase.db.pool import Pool
from fluxbase.db.sql import Statement, sql
from fluxbase.errors import DeadlineExceeded, FluxbaseError, InternalError, InvalidData
from tests.integration.reliability.stand import superuser_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from fluxbase.app.backend import Backend
    from fluxbase.db.types import ReadRow
    from fluxbase.principal import Principal

    Owner = asyncpg.Connection[asyncpg.Record]

_NUMBERS = itertools.count()


def new(columns: str) -> Any:
    """Return a statement that no test has used: how quick a kind was is remembered."""
    return f"SELECT current_user::text, {columns} -- {next(_NUMBERS)}"


def of_pid() -> Statement:
    """Return one that tells which process of Postgres ran it."""
    return Statement(new("pg_backend_pid() AS pid"))


def echo() -> Any:
    """Return one that gives back what it is given."""
    return new("$1::int AS n, repeat($2, $1) AS said, $3::text AS more")


def sleeping() -> Any:
    """Return one that sleeps for some seconds and tells them."""
    return new("pg_sleep($1::text::float8)::text, $1")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every read that was asked before count as a quick one, on any machine."""
    monkeypatch.setattr(batcher, "_LONGEST", 60.0)
    monkeypatch.setattr(batcher, "_BARRED", 10.0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each batch."""
    seen: list[list[str]] = []
    send = Batch.send

    def noted(batch: Batch) -> None:
        seen.append([read.text for read in batch.reads])
        send(batch)

    monkeypatch.setattr(Batch, "send", noted)
    return seen


class Reader:
    """One caller, who asks many things at once."""

    def __init__(self, backend: Backend, who: Principal) -> None:
        self._database = backend.database
        self.who = who

    async def ask(self, statement: Statement) -> ReadRow:
        """Ask one thing; what was never asked before goes alone, and is known afterwards."""
        return await self._database.read(self.who, statement)

    async def together(self, *statements: Statement) -> list[Any]:
        """Ask all at the same moment; what is refused is its error."""
        asked = (self._database.read(self.who, statement) for statement in statements)
        return await asyncio.gather(*asked, return_exceptions=True)


@pytest.fixture
async def overseer(backend: Backend) -> AsyncGenerator[Owner]:
    """A connection that sees what others run."""
    conn = await asyncpg.connect(superuser_url(backend, "postgres"))
    yield conn
    await conn.close()


@pytest.fixture
def reader(backend: Backend, people: list[Principal]) -> Reader:
    return Reader(backend, people[0])


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


async def test_nobody_waits_for_long_behind_a_slow_read(
    reader: Reader, sent: list[list[str]]
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    ended: list[str] = []

    async def ask(seconds: str) -> None:
        ended.append((await reader.ask(Statement(text, (seconds,))))[2])

    await asyncio.gather(*map(ask, ("3", "0", "0.0")))
    assert sent == [[text] * 3]
    assert ended[-1] == "3"


async def test_a_postgres_far_away_is_given_the_time_of_the_way(
    reader: Reader, backend: Backend, sent: list[list[str]]
) -> None:
    pool: Any = backend.database._client  # pyright: ignore[reportPrivateUsage]
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    pool.batcher._trip = 0.2  # until the next answer, which is quicker
    ended: list[str] = []

    async def ask(seconds: str) -> None:
        ended.append((await reader.ask(Statement(text, (seconds,))))[2])

    await asyncio.gather(*map(ask, ("0.1", "0")))
    assert sent == [[text] * 2]
    assert ended == ["0.1", "0"]


async def test_a_read_that_nobody_waits_for_is_stopped(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    running = [asyncio.create_task(reader.ask(Statement(text, (n,)))) for n in ("50", "51")]
    await _until(overseer, text, running=2)  # the second one alone, by now
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert sent == [[text] * 2]
    await _until(overseer, text, running=0)
    assert (await reader.ask(Statement(text, ("0",))))[2] == "0"


async def _until(overseer: Owner, text: str, *, running: int) -> None:
    """Wait until so many of the sleeping reads run; Postgres looks for its client each second."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
    async with asyncio.timeout(10):
        while await overseer.fetchval(query, text) != running:
            await overseer.execute("SELECT pg_sleep(0.02)")


async def test_reads_whose_connection_breaks_off_are_asked_again(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    asked = asyncio.gather(*(reader.ask(Statement(text, (n,))) for n in ("2", "0", "0.0")))
    await _until(overseer, text, running=1)
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
    await _gone(overseer, found[0][1])


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
    await _gone(overseer, found[0][1])
    # Which of them it was is not known, so the kind goes alone for a while.
    await reader.together(quiet, loud)
    assert len(sent) == 1


async def _gone(overseer: Owner, pid: int) -> None:
    """Wait until a process of Postgres has ended."""
    async with asyncio.timeout(5):
        while await overseer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            await overseer.execute("SELECT pg_sleep(0.02)")


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
    assert sorted(map(len, sent)) == [8, 16, 16]


async def test_a_read_that_was_stopped_is_not_asked_again(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    asked = asyncio.create_task(reader.ask(Statement(text, ("5",))))
    await _until(overseer, text, running=1)
    began = time.monotonic()
    await overseer.fetch(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = $1", text
    )
    with pytest.raises(DeadlineExceeded):
        await asked
    assert time.monotonic() - began < 2
    assert len(sent) == 1


@pytest.mark.parametrize("seconds", ["0.002", "0.02"])
async def test_a_kind_that_is_slow_goes_alone(
    reader: Reader, sent: list[list[str]], monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setattr(batcher, "_LONGEST", 0.001)
    pid, slow = of_pid(), Statement(sleeping(), (seconds,))
    for _ in range(10):
        await reader.ask(pid)  # so that the way to Postgres is known, on any machine
    sent.clear()
    for _ in range(3):
        await reader.together(slow, slow)
    assert sent == []


async def test_what_is_slow_is_known_though_nothing_else_was_ever_asked(
    backend: Backend, people: list[Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "_LONGEST", 0.001)
    pool = Pool(
        backend.database.logins.client,
        name="young",
        size=2,
        settings={},
        acquire_timeout=10,
        connect_timeout=10,
        max_age=60,
    )
    slow = Statement(sleeping(), ("0.1",))
    await reads.read(pool, people[0], slow)
    assert pool.batcher.join(Identity.of(people[0]), slow) is None
    await pool.close()


async def test_a_kind_that_became_slow_goes_alone(
    reader: Reader, sent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    slow = [Statement(text, ("0.004",))] * 16
    await reader.together(*slow)
    assert sent == [[text] * 16]  # 64 ms in a row, if nobody looked
    await reader.together(*slow)
    assert len(sent) == 1


async def test_a_kind_that_was_slow_once_may_come_back(
    reader: Reader, sent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "_BARRED", 0.5)
    text = sleeping()
    quick, slow = (Statement(text, (seconds,)) for seconds in ("0", "0.1"))
    await reader.ask(quick)

    async def together_after(seconds: float) -> bool:
        await asyncio.sleep(seconds)
        sent.clear()
        await reader.together(quick, quick)
        return sent == [[text] * 2]

    await reader.together(slow, quick)
    assert not await together_after(0)
    assert await together_after(0.6)
    await reader.together(slow, quick)
    assert not await together_after(0.6)  # twice as long, the second time in a row
    assert await together_after(0.6)


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
