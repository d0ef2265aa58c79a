"""Several processes on one data directory: one owns Postgres, the others share it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from fluxbase.embedded import EmbeddedPostgres, account, child, places, ports, settings
from fluxbase.embedded.lock import ClusterLock
from fluxbase.embedded.log import Log
from fluxbase.embedded.pidfile import live
from fluxbase.errors import Unavailable
from tests.integration.embedded.stand import (
    ACCOUNTS,
    ask,
    eventually,
    package_dir,
    running,
    until_answering,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.embedded.stand import Driver


async def test_of_two_processes_one_owns_and_both_reach_it(
    new_dir: Path, drive: Callable[..., Driver]
) -> None:
    # The last is the ordinary user where root runs the tests.
    first, second = drive(new_dir, ACCOUNTS[-1]), drive(new_dir, ACCOUNTS[-1])
    ends = await asyncio.gather(first.ready(), second.ready())
    assert sorted(end.owned for end in ends) == [False, True]
    assert {(end.port, end.socket_dir) for end in ends} == {(ends[0].port, ends[0].socket_dir)}
    for end in ends:
        assert await ask(end, "select 1") == 1
    await first.finish()
    await second.finish()


async def test_stopping_the_one_who_attached_changes_nothing(data_dir: Path) -> None:
    async with running(data_dir) as owner:
        async with running(data_dir) as guest:
            assert not guest.endpoint.owned
        assert await ask(owner.endpoint, "select 1") == 1


async def test_who_attached_takes_over_when_the_owner_stops(data_dir: Path) -> None:
    async with running(data_dir) as owner, running(data_dir, watched=True) as guest:
        before = guest.endpoint
        await ask(before, "create table kept as select 42 as n")
        await owner.stop()
        await eventually(lambda: guest.endpoint.owned, "the guest took over")
        assert (guest.endpoint.port, guest.endpoint.socket_dir) == (before.port, before.socket_dir)
        assert await ask(before, "select n from kept", before.socket_dir) == 42


async def test_who_attached_takes_over_when_the_owner_is_killed(
    data_dir: Path, drive: Callable[..., Driver]
) -> None:
    owner = drive(data_dir)
    await owner.ready()
    async with running(data_dir, watched=True) as guest:
        before = guest.endpoint
        assert not before.owned
        owner.kill()
        await eventually(lambda: guest.endpoint.owned, "the guest took over")
        assert (guest.endpoint.port, guest.endpoint.socket_dir) == (before.port, before.socket_dir)
        await until_answering(before)


async def test_of_two_who_attached_one_takes_over(data_dir: Path) -> None:
    async with (
        running(data_dir) as owner,
        running(data_dir, watched=True) as one,
        running(data_dir, watched=True) as two,
    ):
        await owner.stop()
        await eventually(lambda: one.endpoint.owned or two.endpoint.owned, "one took over")
        await until_answering(one.endpoint)
        await until_answering(two.endpoint)
        assert one.endpoint.owned != two.endpoint.owned


async def test_a_holder_without_postgres_is_named(data_dir: Path) -> None:
    holder = ClusterLock(data_dir.with_name("data.lock"))
    assert holder.acquire()
    try:
        with pytest.raises(Unavailable, match=rf"Process {holder.read().pid} holds"):
            await EmbeddedPostgres(data_dir, patience=0.2).start()
    finally:
        holder.release()


async def test_who_waits_for_the_lock_gets_it_when_it_is_let_go(data_dir: Path) -> None:
    holder = ClusterLock(data_dir.with_name("data.lock"))
    assert holder.acquire()
    postgres = EmbeddedPostgres(data_dir)
    start = asyncio.create_task(postgres.start())
    await asyncio.sleep(0)
    holder.release()
    assert (await start).owned
    await postgres.stop()


async def test_a_postgres_without_an_owner_is_shared_and_then_replaced(data_dir: Path) -> None:
    """As after a start by hand, or where the system cannot end it with its owner."""
    log = Log.open(data_dir.with_name("data.log"))
    sockets = places.socket_dir("", account.choose(data_dir))
    program = str(package_dir() / "pginstall" / "bin" / "postgres")
    options = settings.options(ports.choose(0, 0), sockets, {})
    by_hand = child.spawn(
        account.choose(data_dir), [program, "-D", str(data_dir), *options], log.fd
    )
    log.close()
    await eventually(lambda: (found := live(data_dir)) and found.ready, "it runs")
    async with running(data_dir, watched=True) as guest:
        assert not guest.endpoint.owned
        assert guest.endpoint.socket_dir == sockets
        assert await ask(guest.endpoint, "select 1") == 1
        by_hand.send_signal(signal.SIGINT)
        assert await child.wait(by_hand, 15) == 0
        await eventually(lambda: guest.endpoint.owned, "the guest took over")
        assert await ask(guest.endpoint, "select 1") == 1
    places.remove_socket_dir(sockets)
