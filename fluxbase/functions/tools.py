"""The tools that invoke functions and show what they wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from fluxbase.errors import FluxbaseError, InvalidArgument, TooLarge
from fluxbase.functions import invoke, registry
from fluxbase.functions.broker import packed, whose
from fluxbase.functions.service import Functions
from fluxbase.strict_json import loads
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonValue, write

_SCOPE = ("execute:functions",)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# Of the call itself, or that say who calls: a function learns that from `fluxbase.caller`.
WITHHELD = frozenset(
    ("authorization", "cookie", "x-client-key", "x-service-key", "host", "content-length")
)

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$", description="Name of the function")
]
Namespace = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Its namespace")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@dataclass(frozen=True, slots=True)
class FunctionEntry:
    """A function that the caller may invoke."""

    name: str
    namespace: str
    description: str | None
    version: int
    runs_as: str
    timeout_seconds: float
    updated_at: str


@dataclass(frozen=True, slots=True)
class FunctionEntries:
    """The functions there are for the caller."""

    functions: list[FunctionEntry]
    count: int


@dataclass(frozen=True, slots=True)
class Invoked:
    """What a function answered: `body` is JSON where it is said to be JSON, else a text.

    `encoding` is `base64` when the body is neither.
    """

    status: int
    headers: dict[str, str]
    body: JsonValue
    encoding: str | None
    execution_id: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a function wrote."""

    at: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class FunctionExecution:
    """One call of a function, with what it wrote."""

    execution_id: str
    namespace: str
    name: str
    version: int
    status: str
    http_status: int | None
    error: str | None
    started_at: str
    duration_ms: float
    lines_lost: int
    lines: list[LogLine]


@dataclass(frozen=True, slots=True)
class FunctionLogs:
    """The newest calls first."""

    executions: list[FunctionExecution]
    count: int


@tool(scopes=_SCOPE, title="List functions", read_only=True, untrusted=True)
async def list_functions(
    ctx: Context,
    namespace: Annotated[str | None, Field(description="Only those of this namespace")] = None,
) -> FunctionEntries:
    """List the edge functions the caller may invoke."""
    known = ctx.service(Functions).registry
    found = [entry(f) for f in await registry.visible(ctx, known, namespace)]
    ctx.rows = len(found)
    return FunctionEntries(found, len(found))


@tool(
    scopes=_SCOPE,
    title="Invoke function",
    destructive=True,
    untrusted=True,
    for_readers=True,
)
async def invoke_function(
    ctx: Context,
    name: Name,
    namespace: Namespace = "default",
    body: Annotated[
        Any, Field(description="Its body: a text is sent as it is, all else as JSON")
    ] = None,
    method: Annotated[Method, Field(description="Method of its request")] = "POST",
    headers: Annotated[
        dict[str, str] | None, Field(description="Headers of its request", max_length=50)
    ] = None,
) -> Invoked:
    """Invoke an edge function; it reaches data with the caller's own rights.

    An answer with a status of 400 or more is an answer too; a function that throws is an error.
    """
    functions = ctx.service(Functions)
    found = await registry.find(ctx, functions.registry, namespace, name)
    asked = _asked(functions, name, body, method, headers or {})
    done = await invoke.invoke(ctx, functions, found, asked)
    answer, encoding = shown(done)
    kept = {key: value for key, value in done.headers if key != "set-cookie"}
    return Invoked(done.status, kept, answer, encoding, done.execution)


@tool(scopes=_SCOPE, title="Get logs of a function", read_only=True, untrusted=True)
async def get_function_logs(
    ctx: Context,
    name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$",
            description="Name of the function; or give execution_id",
        ),
    ] = None,
    namespace: Namespace = "default",
    execution_id: Annotated[
        str | None, Field(max_length=36, description="One call, as invoke_function returned it")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Most calls to show")] = 10,
) -> FunctionLogs:
    """Show the newest calls of a function and what it wrote; only the caller's own calls."""
    if name is None and execution_id is None:
        raise InvalidArgument("name, execution_id: one of them is needed")
    if execution_id is not None and not _UUID.fullmatch(execution_id):
        return FunctionLogs([], 0)
    rows = await ctx.database.admin(
        "find_executions",
        namespace=None if name is None else namespace,
        name=name,
        id=execution_id,
        holder=None if ctx.who.is_service else whose(ctx.who),
        most=limit,
    )
    ctx.rows = len(rows)
    found = [
        FunctionExecution(
            row["id"],
            row["namespace"],
            row["name"],
            row["version"],
            row["status"],
            row["http_status"],
            row["error"],
            row["started_at"],
            row["duration_ms"],
            row["lines_lost"],
            [
                LogLine(line["at"], line["level"], line["message"])
                for line in orjson.loads(row["lines"])
            ],
        )
        for row in rows
    ]
    return FunctionLogs(found, len(found))


def entry(function: registry.Function) -> FunctionEntry:
    """Return what a caller is told of a function."""
    return FunctionEntry(
        function.name,
        function.namespace,
        function.description,
        function.version,
        function.runs_as,
        function.timeout,
        function.updated_at,
    )


def _asked(
    functions: Functions, name: str, body: object, method: str, headers: dict[str, str]
) -> invoke.Asked:
    for place, (key, value) in enumerate(headers.items()):
        if not _TOKEN.fullmatch(key) or not value.isprintable() or not value.isascii():
            raise InvalidArgument(f"headers: number {place + 1} is no header")
    kept = {k.lower(): v for k, v in headers.items() if k.lower() not in WITHHELD}
    if body is None or method in ("GET", "HEAD"):
        if body is not None:
            raise InvalidArgument(f"body: a {method} request has none")
        sent = b""
    elif isinstance(body, str):
        sent = body.encode()
        kept.setdefault("content-type", "text/plain;charset=UTF-8")
    else:
        sent = write(body)
        kept.setdefault("content-type", "application/json")
    if len(sent) > functions.config.max_request:
        raise TooLarge(f"body: at most {functions.config.max_request} bytes")
    return invoke.Asked(method, f"http://localhost/{name}", tuple(kept.items()), sent)


def shown(done: invoke.Response) -> tuple[JsonValue, str | None]:
    """Return a body as JSON, and `base64` when it is neither JSON nor a text."""
    kinds = [value for key, value in done.headers if key == "content-type"]
    kind = kinds[0].partition(";")[0].strip() if kinds else ""
    if kind == "application/json" or kind.endswith("+json"):
        try:
            loads(done.body)
        except FluxbaseError:
            pass  # it says more than it keeps, or is deeper than clients read; then it is a text
        else:
            return JsonValue(done.body.decode()), None
    body = packed(done.body)
    return JsonValue(write(body["body"]).decode()), "base64" if body.get("base64") else None
