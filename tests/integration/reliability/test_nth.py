"""Whichever word to Postgres fails, and however: no slot leaks and nothing is half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.db import batcher
from fluxbase.db.batch import Batch
from fluxbase.db.line import Line
from tests.integration.reliability.stand import eventually

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend
    from tests.world import Caller

Failure = Callable[[], BaseException]
WORDS = ("execute", "fetchrow", "fetch")
FAILURES: dict[str, Failure] = {
    "lost": lambda: asyncpg.ConnectionDoesNotExistError("gone"),
    "timeout": TimeoutError,
    "cancelled": asyncio.CancelledError,
    "shutdown": lambda: asyncpg.AdminShutdownError("terminating connection"),
    "confused": lambda: asyncpg.InternalClientError("unknown protocol state"),
}
CALLS: dict[str, dict[str, Any]] = {
    "query_table": {"table": "notes", "filter": {"id": 1}},
    "count_records": {"table": "notes"},
    "list_tables": {},
    "describe_table": {"table": "notes"},
    "insert_record": {"table": "notes", "data": {"title": "nth"}},
    "update_record": {"table": "notes", "data": {"body": "nth"}, "filter": {"id": 1}},
    "delete_record": {"table": "notes", "filter": {"id": 2}},
}
STATE = "SELECT md5(string_agg(n::text, ',' ORDER BY id)) FROM public.notes n"


class Saboteur:
    """Fails the N-th word to Postgres, before it is sent or after it was answered.

    Reads that go together have no failures of their own: their connection breaks off.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.failure, self.late = 0, 0, FAILURES["lost"], False
        self.last = ""
        for word in WORDS:
            monkeypatch.setattr(Line, word, self._wrap(word))
        send = Batch.send

        def broken(batch: Batch) -> None:
            send(batch)
            if self.at and not self._is_background(batch.reads[0].text):
                self.count += 1
                if self.count == self.at:
                    self.last = batch.reads[0].text
                    batch.line.transport.abort()

        monkeypatch.setattr(Batch, "send", broken)

    def arm(self, at: int, failure: Failure, *, late: bool) -> None:
        self.count, self.at, self.failure, self.late = 0, at, failure, late

    def _wrap(self, word: str) -> Any:
        original = getattr(Line, word)

        async def wrapped(conn: Any, text: str, *values: Any, **more: Any) -> Any:
            if not self.at or self._is_background(text):
                return await original(conn, text, *values, **more)
            self.count += 1
            if self.count != self.at:
                return await original(conn, text, *values, **more)
            self.last = text
            if self.late:
                await original(conn, text, *values, **more)
            raise self.failure()

        return wrapped

    def _is_background(self, text: str) -> bool:
        quiet = ("platform.audit", "pg_is_in_recovery", "SELECT 1", "STATE")
        return any(word in text for word in quiet) or text == STATE


async def idle(backend: Backend) -> bool:
    return not any(state.in_use for state in backend.database.states())


async def attempt(caller: Caller, tool: str) -> tuple[int, Any]:
    """Call a tool in a task of its own, so that a cancellation has something to end."""
    params = {"name": tool, "arguments": CALLS[tool]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    task = asyncio.create_task(caller.post(body))
    await asyncio.wait((task,), timeout=20)
    assert task.done(), "the call hangs"
    if task.cancelled():
        return 0, {}
    return task.result().status_code, task.result().json()


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("tool", CALLS)
async def test_the_nth_word_fails(
    tool: str,
    kind: str,
    late: bool,
    backend: Backend,
    user1: Caller,
    user2: Caller,
    owner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher, "_LONGEST", 60.0)
    monkeypatch.setattr(batcher, "_BARRED", 0.0)
    await user1.call(tool, **CALLS[tool])  # what was asked before goes with others
    saboteur = Saboteur(monkeypatch)
    # A call has fewer words; those of the server itself, such as its records, come between.
    for nth in range(1, 25):
        backend.database.catalog.forget()
        before = await owner.fetchval(STATE)
        saboteur.arm(nth, FAILURES[kind], late=late)
        status, answer = await attempt(user1, tool)
        reached, committing = saboteur.count >= nth, saboteur.last.endswith("COMMIT")
        saboteur.arm(0, FAILURES[kind], late=late)
        await eventually(lambda: idle(backend), "every connection came back", 3)
        after = await owner.fetchval(STATE)
        acked = status == 200 and not answer["result"].get("isError")
        told = "" if status in (0, 200) else answer["error"]["message"]
        assert "isError" not in str(answer) or acked or status == 200
        if reached and committing and status == 503:
            assert "unknown" in told
        elif not acked:
            assert after == before, f"refused, yet changed: {saboteur.last}"
        assert status in (0, 200, 503) or kind == "timeout"
        assert {r["user_id"][-1] for r in await user2.rows("notes", select="user_id")} == {"2"}
        if not reached:
            return
    pytest.fail("more words than expected")
