"""`fluxbase bench`: how fast your own tables are served; it changes nothing but the audit."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import click
import orjson

from fluxbase.app.backend import open_database, open_prepared
from fluxbase.app.direct import measure
from fluxbase.app.fleet import Fleet
from fluxbase.app.handover import Orders
from fluxbase.app.rooms import toolbox
from fluxbase.cli.allowlists import check_config, every_tool
from fluxbase.cli.load import RATE_LIMITED, Answer, Target, ask_once, fault_of, load
from fluxbase.cli.output import output_option, show_data, table
from fluxbase.cli.settings import common_options, current, run_quietly
from fluxbase.cli.turn import turn
from fluxbase.errors import FluxbaseError, InvalidArgument, RateLimited, Unavailable
from fluxbase.http import server as door

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.app.backend import Prepared
    from fluxbase.cli.load import Tally
    from fluxbase.config import Config

_HOST: Final = "127.0.0.1"
_DIRECT_SHARE: Final = 0.3  # of the seconds, for the SQL alone
_RAISE: Final = (
    "the key's own limit holds for a measurement too; give a key for measuring more: "
    "fluxbase clientkeys update NAME --rate-limit 1000000"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured."""

    key: str = field(repr=False)
    arguments: dict[str, Any]
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it; `direct` is the same SQL without the server."""

    url: str
    workers: int | None
    probe: Answer
    tally: Tally
    direct: list[float] | None


@click.command(epilog="Exit codes: 0 measured, 1 the calls fail, 2 arguments or config are wrong.")
@common_options
@click.option("--key", required=True, help="Key or token to call with; - reads it from stdin.")
@click.option("--table", "name", required=True, metavar="NAME", help="Table to read.")
@click.option(
    "--select", default="*", show_default=True, help="Columns, as query_table takes them."
)
@click.option("--filter", "conditions", metavar="JSON", help="Filter, as query_table takes it.")
@click.option("--limit", type=click.IntRange(1), help="Most rows of an answer.")
@click.option(
    "--url",
    metavar="URL",
    help="Endpoint to call, such as http://127.0.0.1:8080/mcp.  [default: one of its own]",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Connections that call at the same time.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="How long to call.",
)
@output_option
def bench(
    key: str,
    name: str,
    select: str,
    conditions: str | None,
    limit: int | None,
    url: str | None,
    connections: int,
    seconds: float,
    style: str,
) -> None:
    """Measure how fast a table of yours is served, with real calls of query_table.

    Without --url a server of the configuration, with its workers, is started on a free port of this
    machine, and the same SQL is measured without it, to tell the database's part. Every call is
    checked, counted against the key's limit and audited like any other.

    \b
    Examples:
      fluxbase bench --key fbk_... --table todos
      fluxbase bench --key fbk_... --table todos --select id,title \\
        --filter '{"done": false}' --limit 20 --connections 64
      fluxbase bench --key - --table todos --url http://127.0.0.1:8080/mcp -o json < key.txt
    """
    arguments: dict[str, Any] = {"table": name, "select": select}
    if conditions is not None:
        arguments["filter"] = _filter(conditions)
    if limit is not None:
        arguments["limit"] = limit
    key = sys.stdin.readline().strip() if key == "-" else key
    wish = Wish(key, arguments, connections, seconds)
    found = run_quietly(_measure_there(wish, url) if url else _measure_here(wish))
    _show(wish, found, style)


def _filter(text: str) -> dict[str, Any]:
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(
            "--filter: a JSON object is expected", hint="such as '{\"done\": false}'"
        )
    return cast("dict[str, Any]", found)


async def _measure_there(wish: Wish, url: str) -> Measured:
    target = Target.of(url, wish.key, wish.arguments)
    probe = await _probe(target)
    return Measured(url, None, probe, await _load(target, wish), None)


async def _measure_here(wish: Wish) -> Measured:
    settings = current()
    loaded = settings.load(
        {
            "server.host": _HOST,
            "server.port": 0,
            "server.allowed_hosts": (_HOST,),
            "mcp.enabled": True,
            "log.level": "error",
        }
    )
    config = loaded.config
    check_config(loaded, toolbox(every_tool(config)))
    # A database of somebody else's is not migrated by a measurement.
    migrate = config.database.url is None and config.migrations.at_start
    async with AsyncExitStack() as starting:
        await starting.enter_async_context(turn(config))
        async with open_prepared(config, migrate=migrate) as prepared:
            with door.bind(_HOST, 0, reuse_port=True) as listener:
                port = listener.getsockname()[1]
                url = f"http://{_HOST}:{port}{config.mcp.base_path}"
                target = Target.of(url, wish.key, wish.arguments)
                orders = Orders(config, prepared, (), (_HOST, port), False, settings.verbose)
                fleet = Fleet(orders, lambda now: now, lambda _: None)
                async with fleet.running():
                    await starting.aclose()
                    probe = await _probe(target)
                    tally = await _load(target, wish)
            direct = await _direct(config, prepared, target, wish)
            return Measured(url, config.server.workers, probe, tally, direct)


async def _direct(config: Config, prepared: Prepared, target: Target, wish: Wish) -> list[float]:
    seconds = min(wish.seconds * _DIRECT_SHARE, 3.0)
    # As many at once as the pool has connections: waiting for one is no time of the database.
    many = min(wish.connections, config.database.client_pool_size)
    async with open_database(config, prepared) as backend:
        return await measure(backend, target.credential, wish.arguments, many, seconds)


async def _probe(target: Target) -> Answer:
    """Return the answer to one call, or raise what it was refused with."""
    answer = await ask_once(target)
    fault = fault_of(answer)
    if fault is None:
        return answer
    code, message = str(fault["code"]), str(fault.get("message", "the endpoint refuses the call"))
    if code == RATE_LIMITED:
        raise RateLimited(f"{message} ({code})", retry_after=1, hint=_RAISE)
    kind = next((kind for kind in _kinds(FluxbaseError) if kind.code == code), Unavailable)
    raise kind(f"{message} ({code})", hint=fault.get("hint"))


def _kinds(kind: type[FluxbaseError]) -> Iterable[type[FluxbaseError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _kinds(inner)


async def _load(target: Target, wish: Wish) -> Tally:
    shown = sys.stderr.isatty()

    def progress(seconds: float, calls: int) -> None:
        if shown:
            click.echo(f"\r{seconds:5.1f} s  {calls} calls", err=True, nl=False)

    try:
        return await load(target, wish.connections, wish.seconds, progress)
    finally:
        if shown:
            click.echo("\r" + " " * 30 + "\r", err=True, nl=False)


def _show(wish: Wish, found: Measured, style: str) -> None:
    numbers = _numbers(wish, found)
    if not numbers["calls"]:
        raise Unavailable(
            "no call came through: "
            + ", ".join(f"{code} {times} times" for code, times in numbers["errors"].items())
        )
    if style == "table":
        click.echo(table(list(_lines(numbers))))
    else:
        show_data(numbers, style)
    for hint in _hints(numbers):
        click.echo(f"hint: {hint}", err=True)


def _numbers(wish: Wish, found: Measured) -> dict[str, Any]:
    tally = found.tally
    good = len(tally.taken)
    probe: dict[str, Any] = orjson.loads(found.probe.body)["result"]
    rows: list[Any] | None = probe.get("structuredContent", {}).get("rows")
    return {
        "url": found.url,
        "workers": found.workers,
        "table": wish.arguments["table"],
        "connections": wish.connections,
        "seconds": round(tally.seconds, 3),
        "calls": good,
        "errors": dict(tally.errors),
        "calls_per_second": round(good / tally.seconds, 1),
        "ms": _spread(tally.taken),
        "rows_per_answer": None if rows is None else len(rows),
        "bytes_per_answer": round(tally.bytes / good) if good else 0,
        "database_ms": _spread(found.direct) if found.direct else None,
        "limit_per_minute": _limit(found.probe),
        "limited": tally.limited,
    }


def _spread(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    last = len(ordered) - 1
    return (
        {f"p{share}": round(ordered[round(last * share / 100)] * 1000, 3) for share in (50, 95, 99)}
        if ordered
        else {}
    )


def _limit(answer: Answer) -> int | None:
    for part in answer.headers.get("ratelimit-policy", "").split(";"):
        if part.startswith("q=") and part[2:].isdecimal():
            return int(part[2:])
    return None


def _lines(numbers: dict[str, Any]) -> list[list[str]]:
    spread, direct = numbers["ms"], numbers["database_ms"]
    workers = numbers["workers"]
    started = f", started for this with server.workers: {workers}" if workers else ""
    errors = ", ".join(f"{code}: {times}" for code, times in numbers["errors"].items())
    size = f"{numbers['rows_per_answer']} rows, {numbers['bytes_per_answer']} bytes"
    lines = [
        ["endpoint", numbers["url"] + started],
        ["answer", f"{numbers['table']}: {size}"],
        ["load", f"{numbers['connections']} connections, {numbers['seconds']:.1f} s"],
        ["calls", str(numbers["calls"])],
        ["calls/s", f"{numbers['calls_per_second']:.0f}"],
        ["call", _words(spread)],
    ]
    if direct:
        lines.append(["database", f"{_words(direct)}; the same SQL alone, from one process"])
        rest = max(0.0, spread["p50"] - direct["p50"])
        lines.append(["server", f"p50 {rest:.2f} ms, what is left of a call"])
    return [*lines, ["errors", errors or "none"]]


def _words(spread: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in spread.items()) + " ms"


def _hints(numbers: dict[str, Any]) -> list[str]:
    if numbers["limited"]:
        limit = numbers["limit_per_minute"]
        return [f"ended early, since the key may make {limit} calls a minute; {_RAISE}"]
    return []
