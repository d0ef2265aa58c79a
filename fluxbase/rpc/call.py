"""Writes and runs the call of a procedure as its caller; it must not decide who may call it.

All arguments travel as one JSON document, which Postgres itself takes apart by the types of the
function (`jsonb_to_record`): arrays, composites and JSON arrive as they are meant, and no value
ever becomes SQL. Source: PostgreSQL, "Calling Functions", named notation.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from orjson import loads

from fluxbase.db.session import Trace
from fluxbase.db.sql import Params, Sql, Statement, catalog_type, concat, ident, join, sql
from fluxbase.errors import (
    DeadlineExceeded,
    FluxbaseError,
    InternalError,
    InvalidArgument,
    InvalidData,
    TooLarge,
)
from fluxbase.strict_json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.types import Record
    from fluxbase.rpc.procedures import Parameter, Procedure
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave: JSON, and how many rows that is."""

    execution: str
    data: str
    rows: int
    truncated: bool
    ms: float


async def call(
    ctx: Context, procedure: Procedure, params: Mapping[str, Any], *, key: str | None = None
) -> Outcome:
    """Call a procedure and keep that it was called, how it ended and how long it took.

    The same call again under the same `key` answers as before and is not made again.

    Raises:
        FluxbaseError: a parameter is wrong, or the function failed; nothing was changed.
    """
    given = _given(procedure, params)
    ctx.target = procedure.full_name
    record = _Record(ctx, procedure, str(uuid4()), time.perf_counter())
    most = min(procedure.max_rows, ctx.max_rows)
    try:
        row = await _run(ctx, procedure, _statement(procedure, given, params, most), key)
    except BaseException as error:
        status = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
        told = error.message if isinstance(error, FluxbaseError) else InternalError().message
        with suppress(FluxbaseError):  # what happened matters more than its record
            await record.keep(status, told, None)
        raise
    rows = min(row[2], most)
    ms = await record.keep("completed", None, rows)
    data = row[1] if procedure.returns_set else row[1][1:-1] or "null"
    ctx.rows = rows
    return Outcome(record.id, data, rows, row[2] > most, ms)


@dataclass(frozen=True, slots=True)
class _Record:
    """What is kept of a call once it has ended; its id is given to the caller."""

    ctx: Context
    procedure: Procedure
    id: str
    started: float

    async def keep(self, status: str, error: str | None, rows: int | None) -> float:
        """Write it, and return the milliseconds that the call took."""
        ms = round((time.perf_counter() - self.started) * 1000, 2)
        await self.ctx.database.admin(
            "add_execution",
            id=self.id,
            namespace=self.procedure.namespace,
            name=self.procedure.name,
            holder=self.ctx.who.owner,
            status=status,
            error=error,
            rows=rows,
            ms=ms,
        )
        return ms


async def _run(
    ctx: Context, procedure: Procedure, statement: Statement, key: str | None
) -> Record | tuple[str, str, int]:
    try:
        if procedure.read_only:
            async with asyncio.timeout(procedure.timeout):
                return _bounded(ctx, await ctx.read(statement))
        async with ctx.change(procedure.full_name, key=key) as session:
            if session.replay is not None:
                data, rows = loads(session.replay)
                return "", data, rows
            # Not of the commit: what it stops has changed nothing.
            async with asyncio.timeout(procedure.timeout):
                row = _bounded(ctx, await session.fetchrow(statement))
            if key is not None:
                session.trace = Trace(row[2], answer=dumps([row[1], row[2]]).decode())
            return row
    except TimeoutError:
        raise DeadlineExceeded(
            f"the procedure ran into its time limit of {procedure.timeout:g} s; nothing was changed"
        ) from None
    except InvalidData as error:
        raise InvalidData("params: a value does not fit the type of its parameter") from error


def _bounded(ctx: Context, row: Record) -> Record:
    if len(row[1]) > ctx.config.max_bytes:
        raise TooLarge("the answer has more bytes than an answer may have; nothing was changed")
    return row


def _given(procedure: Procedure, params: Mapping[str, Any]) -> list[Parameter]:
    """Return the parameters that have a value, in the function's order.

    Raises:
        InvalidArgument: one is unknown or missing.
    """
    known = {parameter.name: parameter for parameter in procedure.parameters}
    for place, name in enumerate(params):
        if name not in known:
            names = ", ".join(known) or "none"
            raise InvalidArgument(f"params: number {place + 1} is unknown; there are: {names}")
    for parameter in procedure.parameters[: procedure.needed]:
        if parameter.name not in params and parameter.mode != "v":
            raise InvalidArgument(f"params: {parameter.name} is missing")
    given = [parameter for parameter in procedure.parameters if parameter.name in params]
    nameless = [p for p in procedure.parameters if not p.named]
    if nameless and given != list(procedure.parameters[: len(given)]):
        raise InvalidArgument("params: this function has no names for them; give the first ones")
    return given


def _statement(
    procedure: Procedure, given: list[Parameter], params: Mapping[str, Any], most_rows: int
) -> Statement:
    """Return the statement: (role, rows as the text of a JSON array, how many there were)."""
    values = Params()
    source = sql("")
    if given:
        columns = [concat(ident(p.name), sql(" "), catalog_type(p.cast)) for p in given]
        written = dumps({p.name: params[p.name] for p in given}).decode()
        source = concat(
            sql("pg_catalog.jsonb_to_record("), values.add(written), sql("::text::jsonb) AS p("),
            join(", ", columns), sql("), LATERAL "),
        )  # fmt: skip
    positional = any(not p.named for p in procedure.parameters)
    arguments = [
        _argument(p, positional=positional, given=p in given)
        for p in procedure.parameters
        if p in given or p.mode == "v"
    ]
    value = sql("NULL::json") if procedure.result_type == "void" else sql("pg_catalog.to_json(r)")
    most = values.add(most_rows + 1)
    return Statement(
        concat(
            sql("SELECT current_user::text, '[' || coalesce(string_agg(coalesce(x.j::text, 'null'),"
                " ',') FILTER (WHERE x.n < "), most, sql("::int8), '') || ']', count(*) FROM "
                "(SELECT "), value, sql(" AS j, row_number() OVER () AS n FROM "), source,
            ident(procedure.schema, procedure.function), sql("("), join(", ", arguments),
            sql(") AS r LIMIT "), most, sql("::int8) x"),
        ),
        tuple(values.values),
    )  # fmt: skip


def _argument(parameter: Parameter, *, positional: bool, given: bool) -> Sql:
    value = concat(sql("p."), ident(parameter.name))
    if not given:  # none of the arguments at the end, which is not the same as no array of them
        value = concat(sql("'{}'::"), catalog_type(parameter.cast))
    if not positional:
        value = concat(ident(parameter.name), sql(" => "), value)
    return concat(sql("VARIADIC "), value) if parameter.mode == "v" else value
