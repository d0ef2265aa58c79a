"""Workers that are watched over on a real database."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluxbase.app import fleet as fleet_module
from fluxbase.app.backend import Backend, Prepared
from fluxbase.app.fleet import Fleet
from fluxbase.app.handover import Orders
from fluxbase.app.server import Server, Siblings
from fluxbase.http import server as door
from fluxbase.limits.shared import share
from fluxbase.schema.lints import Finding
from tests.conftest import config_for

if TYPE_CHECKING:
    from collections.abc import Callable


def children() -> set[int]:
    """Return the process ids of the workers of this process."""
    me = os.getpid()
    found = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return {int(pid) for pid in found if "app.worker" in Path(f"/proc/{pid}/cmdline").read_text()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a process, which sets no event
            await asyncio.sleep(0.05)


@pytest.fixture
def orders(backend: Backend, home: Path) -> Orders:
    with door.bind("127.0.0.1", 0) as probe:
        address = ("127.0.0.1", int(probe.getsockname()[1]))
    prepared = Prepared(backend.database.logins, backend.peppers, backend.announced, None)
    return Orders(config_for(home, server={"workers": 2}), prepared, (), address, False, False)


async def test_a_worker_that_hangs_is_replaced_and_one_that_works_is_not(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(orders, lambda now: now, lambda _: None)
    async with fleet.running():
        before = children()
        assert len(before) == 2
        hung = min(before)
        # Only now: while they started they had nothing to say for longer.
        monkeypatch.setattr(fleet_module, "_SILENCE", 4.0)
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: hung not in children() and len(children()) == 2)
        assert before - {hung} <= children()
    assert not children()


@pytest.mark.parametrize("first", [True, False])
async def test_one_worker_deletes_old_records_for_all_and_none_lints_again(
    backend: Backend, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def metrics() -> bytes:
        return b""

    found = Finding("table_without_rls", "public.elsewhere", "text", "fix")
    counts = share()
    server = Server(backend, siblings=Siblings(counts, (found,), first, metrics, dict))
    pruning, flushing = asyncio.Event(), asyncio.Event()

    async def prune() -> None:
        pruning.set()
        await asyncio.Event().wait()

    async def flush() -> None:
        flushing.set()

    monkeypatch.setattr(server.audit, "run", prune)
    monkeypatch.setattr(server.audit, "flush", flush)
    async with server.running(), asyncio.timeout(10):
        assert server.findings == [found]
        await (pruning if first else flushing).wait()
    assert pruning.is_set() is first
    os.close(counts)
