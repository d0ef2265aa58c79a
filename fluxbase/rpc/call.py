"""Writes and runs the call of a procedure as its caller; it must not decide who may call it.

All arguments travel as one JSON document, which Postgres itself takes apart by the types of the
function (`jsonb_to_record`): arrays, composites and JSON arrive as they are meant, and no value
ever becomes SQL. Source: PostgreSQL, "Calling Functions", named notation.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

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
from fluxbase.rpc.answers import Answers, Given, place_of
from fluxbase.strict_json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.types import ReadRow as Row
    from fluxbase.principal import Principal
    from fluxbase.rpc.procedures import Parameter, Procedure
    from fluxbase.toolkit import Context

_MARGIN: Final = 1.0  # seconds by which the database's own limit comes later than ours


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, how long it took, and whether it was kept from an earlier call."""

    given: Given
    ms: float
    cached: bool = False


@dataclass(slots=True, eq=False)
class Record:
    """What is kept of a call once it has ended; its id is given to the caller."""

    ctx: Context
    procedure: Procedure
    id: str = field(default_factory=lambda: str(uuid4()))
    begun: bool = False  # it is known already that it runs
    reason: str = "the call was cancelled"
    started: float = field(default_factory=time.perf_counter)

    @property
    def ms(self) -> float:
        """The milliseconds since it began."""
        return round((time.perf_counter() - self.started) * 1000, 2)

    async def keep(self, status: str, error: str | None, given: Given | None) -> None:
        """Write it."""
        await self.ctx.database.admin(
            "add_execution",
            id=self.id,
            namespace=self.procedure.namespace,
            name=self.procedure.name,
            holder=self.ctx.who.owner,
            status=status,
            error=error,
            rows=None if given is None else given.rows,
            ms=self.ms,
        )

    async def fail(self, error: BaseException) -> None:
        """Write that it did not come to its end, and why."""
        if isinstance(error, asyncio.CancelledError):
            status, told = "cancelled", self.reason
        else:
            known = error if isinstance(error, FluxbaseError) else InternalError()
            status, told = "failed", known.message
        with suppress(FluxbaseError):  # what happened matters more than its record
            await self.keep(status, told, None)


async def call(
    ctx: Context,
    procedure: Procedure,
    params: Mapping[str, Any],
    *,
    key: str | None = None,
    record: Record | None = None,
) -> Outcome:
    """Call a procedure and keep that it was called, how it ended and how long it took.

    Args:
        ctx: the call that this is, or is a part of.
        procedure: what to call; that the caller may is found out before.
        params: its parameters by name.
        key: of what changes something: the same key again gives the first answer.
        record: where to keep it, when not as one that is over.

    Raises:
        Conflict: the key was used for another call.
        FluxbaseError: a parameter is wrong, or the function failed; nothing was changed.
    """
    given = check(procedure, params)
    ctx.target = procedure.full_name
    record = record or Record(ctx, procedure)
    most = min(procedure.max_rows, ctx.max_rows)
    answers, place = ctx.service(Answers), b""
    if procedure.cache_seconds:
        place = place_of(ctx, procedure, params, most)
        kept = answers.find(place)
        if kept is not None and not record.begun:
            ctx.rows = kept.rows
            return Outcome(kept, record.ms, cached=True)
    try:
        statement = _statement(procedure, given, params, most)
        done = await _run(ctx, procedure, statement, most, key, record.id)
    except BaseException as error:
        await record.fail(error)
        raise
    ctx.rows = done.rows
    outcome = Outcome(done, record.ms)
    if done.execution == record.id or record.begun:  # else the first call is the one to know of
        await record.keep("completed", None, done)
    if procedure.cache_seconds:
        answers.keep(place, done, procedure.cache_seconds)
    return outcome


async def _run(
    ctx: Context,
    procedure: Procedure,
    statement: Statement,
    most: int,
    key: str | None,
    execution: str,
) -> Given:
    who = ctx.who
    ctx.who = _patient(ctx, procedure)
    try:
        if procedure.read_only:
            async with asyncio.timeout(procedure.timeout):
                row = await ctx.read(statement, apart=True)
            return _given(ctx, procedure, row, most, execution)
        async with ctx.change(procedure.full_name, key=key) as session:
            if session.replay is not None:
                return Given(*orjson.loads(session.replay))
            # Not of the commit: what it stops has changed nothing.
            async with asyncio.timeout(procedure.timeout):
                row = await session.fetchrow(statement)
            given = _given(ctx, procedure, row, most, execution)
            if key is not None:
                session.trace = Trace(given.rows, answer=orjson.dumps([*given]).decode())
        return given  # noqa: TRY300 - only what is committed is given
    except TimeoutError:
        raise DeadlineExceeded(
            f"the procedure ran into its time limit of {procedure.timeout:g} s; nothing was changed"
        ) from None
    except InvalidData as error:
        raise InvalidData("params: a value does not fit the type of its parameter") from error
    finally:
        ctx.who = who


def _patient(ctx: Context, procedure: Procedure) -> Principal:
    """Return the caller with the time that the procedure has; a limit of its own role wins."""
    who, name = ctx.who, "statement_timeout"
    if procedure.timeout <= ctx.config.statement_timeout or name in dict(who.settings):
        return who
    limit = str(round((procedure.timeout + _MARGIN) * 1000))
    return replace(who, settings=(*who.settings, (name, limit)))


def _given(ctx: Context, procedure: Procedure, row: Row, most: int, execution: str) -> Given:
    if len(row[1]) > ctx.config.max_bytes:
        raise TooLarge("the answer has more bytes than an answer may have; nothing was changed")
    data = row[1] if procedure.returns_set else row[1][1:-1] or "null"
    return Given(execution, data, min(row[2], most), row[2] > most)


def check(procedure: Procedure, params: Mapping[str, Any]) -> list[Parameter]:
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
