"""Audit records outlive a database that is away, and one bad record does not hold up the rest."""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fluxbase.db.audit import entry
from fluxbase.db.audit_log import AuditLog
from fluxbase.errors import Forbidden, InvalidData, Unavailable

if TYPE_CHECKING:
    import pytest

    from fluxbase.app.backend import Backend


MICROSECOND = timedelta(microseconds=1)


def call(target: str) -> Any:
    return SimpleNamespace(
        who=SimpleNamespace(kind="client_key", id="somebody"),
        action="test",
        target=target,
        arguments={},
        request_id="r",
        remote="not an address",
        rows=None,
    )


class Book:
    """The audit log of a database that can be sent away."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = 0
        admin = backend.database.admin

        async def flaky(name: str, /, **arguments: object) -> Any:
            if self.failure is not None and name == "add_audit":
                raise self.failure
            return await admin(name, **arguments)

        monkeypatch.setattr(backend.database, "admin", flaky)
        self.failure: Exception | None = None
        self.log = AuditLog(
            backend.database,
            key=b"k",
            reads=True,
            retention=1,
            undo_retention=1,
            on_lost=self._lose,
        )

    def _lose(self) -> None:
        self.lost += 1


async def kept(owner: Any, target: str) -> int:
    return await owner.fetchval("SELECT count(*) FROM platform.audit WHERE target = $1", target)


async def test_records_wait_for_a_database_that_is_away(
    backend: Backend, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(backend, monkeypatch)
    book.failure = Unavailable()
    await book.log.refuse(call("away"), Forbidden(), time.perf_counter())
    book.log.add(call("away"), "ok", None, time.perf_counter())
    await book.log.flush()
    assert await kept(owner, "away") == 0
    book.failure = None
    await book.log.flush()
    assert await kept(owner, "away") == 2
    assert book.lost == 0


async def test_a_record_that_can_never_be_written_is_counted_and_let_go(
    backend: Backend, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(backend, monkeypatch)
    book.failure = InvalidData()
    book.log.add(call("bad"), "ok", None, time.perf_counter())
    await book.log.flush()
    assert book.lost == 1
    book.failure = None
    book.log.add(call("good"), "ok", None, time.perf_counter())
    await book.log.flush()
    assert await kept(owner, "good") == 1


def test_only_an_address_is_kept_as_one() -> None:
    addresses = ("unknown", None, "fe80::1%eth0", "10.0.0.1")
    assert [entry("a", key=b"k", remote=r).remote for r in addresses] == [
        None,
        None,
        "fe80::1",
        "10.0.0.1",
    ]


async def test_a_flush_writes_what_was_there_and_does_not_chase_what_comes_meanwhile(
    backend: Backend, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(backend, monkeypatch)
    admin = backend.database.admin

    async def slow(name: str, /, **arguments: object) -> Any:
        if name == "add_audit":  # the backend asks other things by itself
            book.log.add(call("late"), "ok", None, time.perf_counter())
        return await admin(name, **arguments)

    monkeypatch.setattr(backend.database, "admin", slow)
    book.log.add(call("early"), "ok", None, time.perf_counter())
    await book.log.flush()
    assert await kept(owner, "early") == 1
    assert await kept(owner, "late") == 0
    await book.log.flush()
    assert await kept(owner, "late") == 1


async def test_a_record_tells_when_the_call_was(backend: Backend, owner: Any) -> None:
    log = AuditLog(
        backend.database, key=b"k", reads=True, retention=1, undo_retention=1, on_lost=lambda: None
    )
    before = datetime.now(UTC)
    log.add(call("timed"), "ok", None, time.perf_counter() - 1.5)
    after = datetime.now(UTC)
    await log.flush()
    row = await owner.fetchrow("SELECT at, duration_ms FROM platform.audit WHERE target = 'timed'")
    assert before - MICROSECOND <= row["at"] <= after + MICROSECOND
    assert 1500 <= row["duration_ms"] < 10_000


def test_the_same_arguments_have_the_same_mac_under_one_key_and_another_under_another() -> None:
    arguments = {"id": 1}
    macs = [entry("a", key=k, arguments=arguments).arguments_mac for k in (b"k", b"k", b"other")]
    assert macs[0] == macs[1] != macs[2]
    assert macs[0] == hmac.digest(b"k", b'{"id":1}', "sha256").hex()
