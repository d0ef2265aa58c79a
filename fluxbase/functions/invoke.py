"""Runs one call of a function and keeps what became of it; it must not decide who may call it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

from fluxbase.errors import (
    Conflict,
    DeadlineExceeded,
    FluxbaseError,
    HandlerFailed,
    InternalError,
)
from fluxbase.functions.broker import Broker, header, packed, unpacked, whose
from fluxbase.functions.pool import Key
from fluxbase.toolkit.json_text import write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbase.functions.process import Process
    from fluxbase.functions.registry import Function
    from fluxbase.functions.service import Functions
    from fluxbase.toolkit import Context

    Report = Callable[[float | None, str | None], Awaitable[None]]
    Log = Callable[[str, str], Awaitable[None]]

log = logging.getLogger(__name__)

_LEVELS: Final = frozenset({"debug", "info", "warn", "error"})
_MOST_LINES: Final = 1000
_LONGEST_LINE: Final = 8192
_AT_ONCE: Final = 16  # of what one call asks for
_SHOWN: Final = 2000
_LATE: Final = Conflict("the call of the function that asked for this is over")
_NO_BODY: Final = frozenset({101, 204, 205, 304})


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a function is given."""

    method: str = "POST"
    url: str = "http://localhost/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a function answered."""

    execution: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class _Lines:
    """What a call wrote to its console, within bounds."""

    left: int
    kept: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])
    lost: int = 0

    def add(self, level: object, text: object) -> tuple[str, str]:
        known = level if isinstance(level, str) and level in _LEVELS else "info"
        line = _storable(text, _LONGEST_LINE)
        size = len(line.encode(errors="replace"))
        if size > self.left or len(self.kept) >= _MOST_LINES:
            self.lost += 1
        else:
            self.left -= size
            self.kept.append((known, line, time.time()))
        return known, line


@dataclass(slots=True)
class _Call:
    """One call while it runs."""

    ctx: Context
    functions: Functions
    function: Function
    asked: Asked
    lines: _Lines
    report: Report | None
    log: Log | None
    id: str = field(default_factory=lambda: str(uuid4()))
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None


async def invoke(
    ctx: Context,
    functions: Functions,
    function: Function,
    asked: Asked,
    *,
    seconds: float | None = None,
    report: Report | None = None,
    log: Log | None = None,
) -> Response:
    """Return what a function answers, and keep how its call ended and what it wrote.

    Args:
        ctx: the call of the caller, with whose rights the function asks for everything.
        functions: the room's processes and code.
        function: which one.
        asked: its request.
        seconds: its time limit in place of the function's own.
        report: is told how far it is, in percent, and a message.
        log: is told each line that it writes.

    Raises:
        HandlerFailed: it threw, ended by itself or went over a limit.
        DeadlineExceeded: it ran into its time limit.
        FluxbaseError: there is no room for it now, or it cannot run here.
    """
    ctx.target = function.full_name
    lines = _Lines(functions.config.max_log)
    call = _Call(ctx, functions, function, asked, lines, report, log)
    with functions.admitted(ctx.who):
        try:
            response = await _within(call, seconds or function.timeout)
        except BaseException as error:
            status = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
            told = error.message if isinstance(error, FluxbaseError) else InternalError().message
            with suppress(FluxbaseError):  # what happened matters more than its record
                await asyncio.shield(_keep(call, status, told))
            raise
    await _completed(call)
    return response


async def _completed(call: _Call) -> None:
    try:
        # Who leaves at this moment does not take the record of the call along.
        await asyncio.shield(_keep(call, "completed", None))
    except FluxbaseError as error:  # what was done is told all the same: nobody shall do it twice
        log.warning("a call of a function was not recorded: %s", error.message)


async def _within(call: _Call, seconds: float) -> Response:
    try:
        async with asyncio.timeout(seconds):
            return await _run(call)
    except TimeoutError:
        raise DeadlineExceeded(
            f"the function ran into its time limit of {seconds:g} s and was stopped"
        ) from None


async def _run(call: _Call) -> Response:
    functions, function, who = call.functions, call.function, call.ctx.who
    env, stamp = await functions.environment(function.namespace)
    caller = "" if function.isolation == "shared" else whose(who)
    key = Key(function.id, function.version, caller, stamp)

    async def load(process: Process) -> None:
        code = await functions.registry.code(function)
        limits = {"response": functions.config.max_response}
        await process.send({"t": "load", "code": code, "env": env, "limits": limits})
        while (message := await process.receive()).get("t") != "loaded":
            if message.get("t") == "log":
                await _told(call, message)
            else:
                raise _threw(call, message)

    async with functions.pool.lend(key, load) as process:
        await process.send({**_request(call), "r": process.calls})
        return await _converse(call, process, process.calls)


def _request(call: _Call) -> dict[str, Any]:
    who, asked = call.ctx.who, call.asked
    request = {
        "method": asked.method,
        "url": asked.url,
        "headers": asked.headers,
        **packed(asked.body),
    }
    caller = {
        "kind": who.kind,
        "id": who.id,
        "name": who.name,
        "role": who.role,
        "user_id": who.user_id,
        "claims": orjson.Fragment(who.claims),
    }
    return {"t": "run", "request": request, "caller": caller, "payload": asked.payload}


class _Asking:
    """What a call asks for while it runs; it may ask for several things at once."""

    def __init__(self, call: _Call, process: Process, number: int) -> None:
        functions, config = call.functions, call.functions.config
        self._broker = Broker(
            call.ctx, call.function, functions.outbound, config.egress, config.max_calls
        )
        self._most = _AT_ONCE + 2 * config.max_calls
        self._process = process
        self._number = number
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, message: Mapping[str, Any]) -> None:
        """Begin to do what is asked for.

        Raises:
            HandlerFailed: it is too much at once.
        """
        if len(self._tasks) > self._most:
            raise HandlerFailed("the function asked for more at once than it may")
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def give_up(self) -> None:
        """Give up what nobody waits for any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        async with self._slots:
            # What an earlier call in the same process left behind asks in vain: that may have been
            # another caller's.
            if message.get("r") == self._number:
                reply = await self._broker.answer(message)
            else:
                reply = {"t": "reply", "n": message.get("n"), "error": _LATE.as_dict()}
            # In its slot: what the function does not read waits in the memory of the server.
            with suppress(HandlerFailed):  # whoever waits for the function is told that it ended
                await self._process.send(reply)


async def _converse(call: _Call, process: Process, number: int) -> Response:
    """Do what the function asks for until it has answered; `number` is that of the call."""
    asking = _Asking(call, process, number)
    try:
        while True:
            message = await process.receive()
            kind = message.get("t")
            if kind in ("call", "fetch"):
                asking.take(message)
            elif kind == "done":
                return _response(call, message)
            elif kind not in ("log", "report"):
                raise _threw(call, message)
            elif message.get("r") in (number, None):  # without one: nobody knows whose it was
                await _told(call, message)
    finally:
        await asking.give_up()


async def _told(call: _Call, message: Mapping[str, Any]) -> None:
    if message["t"] == "log":
        level, text = call.lines.add(message.get("level"), message.get("text"))
        _overheard(call, level, text)
        if call.log is not None:
            await call.log(level, text)
    elif call.report is not None:
        percent, text = message.get("percent"), message.get("message")
        known = float(percent) if isinstance(percent, int | float) else None
        await call.report(known, None if text is None else str(text)[:_SHOWN])


def _overheard(call: _Call, level: str, text: str) -> None:
    if call.functions.hears_lines is not None:
        call.functions.hears_lines(call.function.full_name, level, text)


def _threw(call: _Call, message: Mapping[str, Any]) -> HandlerFailed:
    """Return the error that a function threw: its own words, which its author chose to say."""
    if message.get("t") in ("call", "fetch"):
        return HandlerFailed(
            "the function asked for something while it was loaded", hint="ask inside its handler"
        )
    if message.get("t") != "threw":
        return HandlerFailed("the function spoke in a way that is not understood")
    _overheard(call, *call.lines.add("error", message.get("stack") or message.get("message")))
    return HandlerFailed(
        f"the function threw {_storable(message.get('message'), _SHOWN)}",
        hint="get_function_logs shows where",
    )


def _storable(text: object, most: int) -> str:
    """Return a text of a function as Postgres can keep it."""
    return str(text)[:most].replace("\0", "\N{REPLACEMENT CHARACTER}")


def _response(call: _Call, message: Mapping[str, Any]) -> Response:
    wrong = HandlerFailed("the function answered in a way that is not understood")
    try:
        status = int(message["status"])
        headers = [header(name, value) for name, value in message["headers"]]
        body = b"" if status in _NO_BODY else unpacked(message)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise wrong from None
    if not 200 <= status <= 599 or len(body) > call.functions.config.max_response:
        raise wrong
    call.status = status
    return Response(call.id, status, headers, body)


async def _keep(call: _Call, status: str, error: str | None) -> None:
    await call.ctx.database.admin(
        "add_function_execution",
        id=call.id,
        namespace=call.function.namespace,
        name=call.function.name,
        version=call.function.version,
        holder=whose(call.ctx.who),
        status=status,
        http_status=call.status,
        error=error,
        ms=round((time.perf_counter() - call.started) * 1000, 2),
        lost=call.lines.lost,
        lines=write(call.lines.kept).decode(),
    )
