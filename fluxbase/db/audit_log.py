"""Keeps the records of calls that changed nothing: reads in batches, refusals at once.

A write records itself inside its own transaction (`fluxbase.db.session`). It must not fail a call
because a record of a read was lost; it counts what it lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

from fluxbase.db.audit import Outcome, address, entry, told
from fluxbase.errors import FluxbaseError, Forbidden, Unavailable, UnknownResource, UnknownTool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.db.database import Database
    from fluxbase.principal import Principal

log = logging.getLogger(__name__)

_EVERY: Final = 1.0
_BATCH: Final = 250
_WAITING: Final = 20_000
_PRUNE_EVERY: Final = 3600.0
_PRUNED: Final = 5000  # the batch of the query `prune_audit`
_PRUNED_ROWS: Final = 1000
_DENIALS: Final = (Forbidden, UnknownTool, UnknownResource)


class Called(Protocol):
    """What is told of a call; `fluxbase.toolkit.Context` is one."""

    who: Principal
    action: str
    target: str | None
    arguments: Mapping[str, Any]
    request_id: str
    remote: str | None
    rows: int | None


class _Item(NamedTuple):
    """One call of which the record is still to be made."""

    call: Called
    outcome: Outcome
    code: str | None
    seconds: float
    at: float  # seconds of the epoch


class AuditLog:
    """Writes `platform.audit` on the owner's login."""

    def __init__(
        self,
        database: Database,
        *,
        key: bytes,
        reads: bool,
        retention: float,
        undo_retention: float,
        on_lost: Callable[[], None],
    ) -> None:
        self.key = key
        self.reads = reads
        self._database = database
        self.retention = retention
        self.undo_retention = undo_retention
        self._on_lost = on_lost
        self._waiting: deque[_Item] = deque()
        self._blocked = False

    def add(self, call: Called, outcome: Outcome, code: str | None, started: float) -> None:
        """Keep the record of a read for the next batch."""
        # The shape and HMAC are made when the batch is written, off the path of the answer.
        self._keep(_Item(call, outcome, code, time.perf_counter() - started, time.time()))

    async def refuse(self, call: Called, error: FluxbaseError, started: float) -> None:
        """Write the record of a refused or failed call at once."""
        outcome: Outcome = "denied" if isinstance(error, _DENIALS) else "failed"
        item = _Item(call, outcome, error.code, time.perf_counter() - started, time.time())
        if not await self._write([self._row(item, {})]):
            self._keep(item)

    async def refuse_stranger(self, code: str, request_id: str, remote: str | None) -> None:
        """Write the record of a request whose credential was refused."""
        record = entry("authenticate", key=self.key, request_id=request_id, remote=remote)
        await self._write([orjson.dumps(record.as_row("denied", code=code))])

    async def run(self) -> None:
        """Write batches and delete what is past its retention, until cancelled."""
        prune_at = time.monotonic() + 60
        try:
            while True:
                await asyncio.sleep(_EVERY)
                await self.flush()
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + _PRUNE_EVERY
                    await self._prune()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; when Postgres is away it goes on waiting."""
        # Not what comes meanwhile: chasing it would mean ever smaller batches without an end.
        left = len(self._waiting)
        while left > 0:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, left))]
            left -= len(batch)
            written, known = False, dict[bytes, tuple[str, str]]()
            try:
                written = await self._write([self._row(item, known) for item in batch])
            finally:
                # Cancelled too: a record that comes twice is better than one that never comes.
                if not written:
                    self._waiting.extendleft(reversed(batch))
            if not written:
                return

    def _keep(self, item: _Item) -> None:
        if len(self._waiting) >= _WAITING:
            self._on_lost()
        else:
            self._waiting.append(item)

    async def _prune(self) -> None:
        try:
            await self._prune_all("prune_audit", _PRUNED, seconds=self.retention)
            await self._prune_all("prune_undo", _PRUNED_ROWS, seconds=self.undo_retention)
            await self._prune_all("prune_idempotency", _PRUNED_ROWS)
            await self._prune_all("prune_executions", _PRUNED, seconds=self.retention)
            await self._prune_all("prune_function_executions", _PRUNED, seconds=self.retention)
        except FluxbaseError as error:
            log.warning("old audit records could not be deleted: %s", error.code)

    async def _prune_all(self, query: str, batch: int, **arguments: float) -> None:
        while len(await self._database.admin(query, **arguments)) >= batch:
            pass

    async def _write(self, rows: list[bytes]) -> bool:
        """Return false when the records may be written later."""
        try:
            await self._database.admin("add_audit", entries=f"[{b','.join(rows).decode()}]")
        except Unavailable as error:
            if not self._blocked:  # once for each outage, not for each call refused in it
                log.warning("audit records could not be written yet: %s", error.code)
            self._blocked = True
            return False
        except FluxbaseError as error:
            await self._write_apart(rows, error)
        self._blocked = False
        return True

    async def _write_apart(self, rows: list[bytes], error: FluxbaseError) -> None:
        """Write records one by one after they failed together, the bad one without its details."""
        if len(rows) > 1:
            for row in rows:
                await self._write([row])
            return
        record = orjson.loads(rows[0])
        if record["arguments"] is not None:
            await self._write([orjson.dumps({**record, "arguments": None})])
        else:
            log.error("an audit record is lost: %s", error.code)
            self._on_lost()

    def _row(self, item: _Item, known: dict[bytes, tuple[str, str]]) -> bytes:
        """Return a record as a JSON object, by the names of the table's columns."""
        call, outcome, code, seconds, at = item
        shape, mac = told(self.key, call.arguments, known)
        return orjson.dumps(
            {
                "at": at,
                "action": call.action,
                "request_id": call.request_id,
                "kind": call.who.kind,
                "principal": call.who.id,
                "target": call.target,
                "arguments": shape,
                "arguments_mac": mac,
                "remote": address(call.remote),
                "outcome": outcome,
                "code": code,
                "rows": call.rows,
                "duration_ms": seconds * 1000,
            }
        )
