"""Functions by plain HTTP: the request goes in as it came, the response comes out as it was made.

It must not know what a function is. What comes out is the work of a function's author on an origin
that is not theirs: a browser gets it without cookies and without a right to run anything.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import orjson
from starlette.routing import Route

from fluxbase.errors import DeadlineExceeded, FluxbaseError, Forbidden, InternalError, UnknownTool
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.visit import Received, Visit
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Receive, Scope, Send

    from fluxbase.http.gate import Gate
    from fluxbase.http.head import Headers
    from fluxbase.observe import Observer
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.runner import Runner

log = logging.getLogger(__name__)

_TOOL: Final = "invoke_function"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_JSON: Final = (b"content-type", b"application/json")
_WITHHELD: Final = frozenset(
    (b"authorization", b"cookie", b"x-client-key", b"x-service-key", b"content-length", b"host")
)
# The connection's own, the server's own, what would make an origin of this one the author's, and
# what a proxy before the server takes for its orders.
_DROPPED: Final = frozenset(
    (
        "connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer",
        "te", "set-cookie", "content-security-policy", "strict-transport-security", "x-request-id",
        "x-content-type-options", "clear-site-data", "service-worker-allowed", "alt-svc",
        "x-execution-id", "ratelimit", "ratelimit-policy", "nel", "report-to",
        "reporting-endpoints", "x-sendfile", "x-lighttpd-send-file", "x-reproxy-url",
    )
)  # fmt: skip
_DROPPED_ALL: Final = ("access-control-", "x-accel-", "proxy-")
_SAFE: Final = (b"content-security-policy", b"default-src 'none'; sandbox")


class Sent(NamedTuple):
    """A request for a function."""

    namespace: str
    name: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Made(NamedTuple):
    """What a function answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    execution: str


class Invoke(Protocol):
    """Invokes functions."""

    def __call__(self, ctx: Context, sent: Sent) -> Awaitable[Made]:
        """Return what the function answers; raises what invoking it does."""
        ...


class FunctionsEndpoint:
    """The routes below `{api_path}/functions`."""

    def __init__(
        self, gate: Gate, runner: Runner, observer: Observer, invoke: Invoke, max_size: int
    ) -> None:
        self._gate = gate
        self._runner = runner
        self._observer = observer
        self._invoke = invoke
        self._max_size = max_size

    def routes(self, api_path: str) -> list[Route]:
        """Return what is served."""
        return [
            Route(f"{api_path}/functions/{path}", _Handler(self), methods=_METHODS)
            for path in ("{name}", "{namespace}/{name}")
        ]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope.get("client")
        visit = Visit(self._gate, scope["headers"], client[0] if client else None)
        try:
            made = await self._made(scope, Received(receive, scope["headers"]), visit)
            status, body = made.status, made.body
            headers = [*visit.headers(), *_kept(made)]
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the last one to catch it answers
            known = self._known(error, visit)
            status, body = known.status, orjson.dumps({"error": known.as_dict()})
            refused = self._gate.refusal_headers(known, visit.sent)
            headers = [*visit.headers_with(refused), _JSON]
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    async def _made(self, scope: Scope, incoming: Received, visit: Visit) -> Made:
        who = await visit.enter()
        try:
            self._runner.toolbox.find_tool(who, _TOOL)
        except UnknownTool:
            raise Forbidden(f"this needs a key that may use {_TOOL}") from None
        sent = _sent(scope, await incoming.read(self._max_size))

        async def work(ctx: Context) -> Made:
            return await self._invoke(ctx, sent)

        arguments = {"name": sent.name, "namespace": sent.namespace, "method": sent.method}
        request = Request(who, visit.id, visit.remote)
        return await incoming.until_gone(self._runner.run(request, _TOOL, arguments, work))

    def _known(self, error: Exception, visit: Visit) -> FluxbaseError:
        if isinstance(error, TimeoutError):
            return DeadlineExceeded()
        if isinstance(error, FluxbaseError) and not isinstance(error, InternalError):
            self._observer.refused.labels(error.code).inc()
            return error
        log.error("request %s failed", visit.id, exc_info=error)
        return InternalError(hint=f"request {visit.id}")


class _Handler:
    """One route as an ASGI application."""

    def __init__(self, endpoint: FunctionsEndpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint.answer(scope, receive, send)


def _sent(scope: Scope, body: bytes) -> Sent:
    headers = [(n, v) for n, v in scope["headers"] if n not in _WITHHELD]
    host = next((v.decode("latin-1") for n, v in scope["headers"] if n == b"host"), "localhost")
    query = scope["query_string"].decode("latin-1")
    path = scope["path_params"]
    return Sent(
        path.get("namespace", "default"),
        path["name"],
        scope["method"],
        f"{scope['scheme']}://{host}{scope['path']}" + (f"?{query}" if query else ""),
        tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers),
        body,
    )


def _kept(made: Made) -> Headers:
    headers: Headers = [_SAFE, (b"x-execution-id", made.execution.encode())]
    for name, value in made.headers:
        if name not in _DROPPED and not name.startswith(_DROPPED_ALL):
            headers.append((name.encode("latin-1"), value.encode("latin-1", "replace")))
    return headers
