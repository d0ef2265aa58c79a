"""Nobody waits for long behind a slow read, and what is slow is known for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.db import batcher, reads
from fluxbase.db.held import Identity
from fluxbase.db.pool import Pool
from fluxbase.db.sql import Statement
from fluxbase.errors import DeadlineExceeded
from tests.integration.db.together import Reader, of_pid, sleeping, until

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from fluxbase.principal import Principal
    from tests.integration.db.together import Owner

pytestmark = pytest.mark.usefixtures("patient")


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
    await until(overseer, text, running=2)  # the second one alone, by now
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert sent == [[text] * 2]
    await until(overseer, text, running=0)
    assert (await reader.ask(Statement(text, ("0",))))[2] == "0"


async def test_a_read_that_was_stopped_is_not_asked_again(
    reader: Reader, sent: list[list[str]], overseer: Owner
) -> None:
    text = sleeping()
    await reader.ask(Statement(text, ("0",)))
    asked = asyncio.create_task(reader.ask(Statement(text, ("5",))))
    await until(overseer, text, running=1)
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
    slow = [Statement(text, ("0.008",))] * 8
    await reader.together(*slow)
    assert sent == [[text] * 8]  # 64 ms in a row, if nobody looked
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
