"""The tools as plain HTTP: POST arguments, get the result; it must not know any tool.

The same keys, limits, deadline, records and tools as over MCP, without its envelope.
"""

from __future__ import annotations

import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from starlette.routing import Route

from fluxbase.errors import (
    DeadlineExceeded,
    FluxbaseError,
    InternalError,
    InvalidArgument,
)
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.head import Headers, once
from fluxbase.http.headers import read_post
from fluxbase.http.visit import Received, Visit
from fluxbase.observe import Call
from fluxbase.strict_json import loads
from fluxbase.toolkit.deadline import Deadlines
from fluxbase.toolkit.openapi import openapi
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.types import Receive, Scope, Send

    from fluxbase.http.gate import Gate
    from fluxbase.observe import Observer
    from fluxbase.toolkit.runner import Runner
    from fluxbase.toolkit.tool import Tool

    Work = Callable[[Scope, Received, Visit], Awaitable[bytes]]

log = logging.getLogger(__name__)

_TYPE: Final = (b"content-type", b"application/json")
_IDEMPOTENCY: Final = b"idempotency-key"
_KEY: Final = "idempotency_key"
_CREDENTIALS: Final = frozenset({b"x-client-key", b"x-service-key", b"authorization"})
_FORWARDED: Final = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")


class RestEndpoint:
    """The routes below `{base_path}/tools`."""

    def __init__(
        self,
        gate: Gate,
        runner: Runner,
        observer: Observer,
        *,
        base_path: str,
        max_size: int,
        deadline: float,
        open_list: bool,
    ) -> None:
        self._gate = gate
        self._runner = runner
        self._observer = observer
        self._base = f"{base_path}/tools"
        self._max_size = max_size
        self._deadlines = Deadlines(deadline)
        self._open_list = open_list

    def routes(self) -> list[Route]:
        """Return what is served."""
        return [
            Route(self._base, _Handler(self, self._list), methods=["GET"]),
            Route(f"{self._base}/{{name}}", _Handler(self, self._call), methods=["POST"]),
            Route(
                self._base.removesuffix("/tools") + "/openapi.json",
                _Handler(self, self._describe),
                methods=["GET"],
            ),
        ]

    async def answer(self, work: Work, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the work of one request and send what comes of it."""
        client = scope.get("client")
        visit = Visit(self._gate, scope["headers"], client[0] if client else None)
        refused: Headers = []
        status = 200
        try:
            body = await work(scope, Received(receive, scope["headers"]), visit)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the last one to catch it answers
            known = self._known(error, visit)
            status, refused = known.status, self._gate.refusal_headers(known, visit.sent)
            body = orjson.dumps({"error": known.as_dict()})
        size = (b"content-length", b"%d" % len(body))
        headers = [*visit.headers_with(refused), _TYPE, size]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _known(self, error: Exception, visit: Visit) -> FluxbaseError:
        if isinstance(error, FluxbaseError) and not isinstance(error, InternalError):
            self._observer.refused.labels(error.code).inc()
            return error
        log.error("request %s failed", visit.id, exc_info=error)
        return InternalError(hint=f"request {visit.id}")

    async def _list(self, scope: Scope, _incoming: Received, visit: Visit) -> bytes:
        if self._open_list and _is_local_stranger(scope):
            tools: Iterable[Tool] = self._runner.toolbox.offered
        else:
            tools = self._runner.toolbox.offer(await visit.enter()).tools.values()
        return orjson.dumps({"tools": [_entry(tool) for tool in tools]})

    async def _describe(self, _scope: Scope, _incoming: Received, visit: Visit) -> bytes:
        who = await visit.enter()
        return orjson.dumps(openapi(self._runner.toolbox.offer(who).tools.values(), self._base))

    async def _call(self, scope: Scope, incoming: Received, visit: Visit) -> bytes:
        who = await visit.enter()
        once(visit.sent, read_post)
        arguments = _arguments(loads(await incoming.read(self._max_size)))
        name: str = scope["path_params"]["name"]
        self._add_key(name, arguments, visit.sent)
        request = Request(who, visit.id, visit.remote)
        return await incoming.until_gone(self._run(request, name, arguments))

    async def _run(self, request: Request, name: str, arguments: dict[str, Any]) -> bytes:
        started = time.perf_counter()
        code = InternalError.code
        try:
            with self._deadlines.start():
                answer = await self._runner.call(request, name, arguments)
            code = ""
        except TimeoutError:
            code = DeadlineExceeded.code
            raise DeadlineExceeded from None
        except FluxbaseError as error:
            code = error.code
            raise
        finally:
            self._observe(request, name, code, time.perf_counter() - started)
        if answer.blocks:
            return orjson.dumps({"content": answer.blocks})
        return answer.structured

    def _observe(self, request: Request, name: str, code: str, seconds: float) -> None:
        tool = name if name in self._runner.toolbox.tools else "unknown"
        outcome = "failed" if code else "ok"
        self._observer.count(tool, outcome, seconds)
        if self._observer.tells(outcome):
            who, remote = request.who.id, request.remote
            call = Call(request.request_id, "rest", tool, who, outcome, code, seconds, remote)
            self._observer.tell(call)

    def _add_key(self, name: str, arguments: dict[str, Any], headers: Headers) -> None:
        """Take an Idempotency-Key for the argument of that name, where the tool has it."""
        sent = [value for header, value in headers if header == _IDEMPOTENCY]
        tool = self._runner.toolbox.tools.get(name)
        if not sent or tool is None or _KEY not in tool.signature.names:
            return
        if len(sent) > 1 or _KEY in arguments:
            raise InvalidArgument("the idempotency key is given more than once")
        arguments[_KEY] = sent[0].decode("latin-1")


class _Handler:
    """One route as an ASGI application."""

    def __init__(self, endpoint: RestEndpoint, work: Work) -> None:
        self._endpoint = endpoint
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint.answer(self._work, scope, receive, send)


def _entry(tool: Tool) -> dict[str, Any]:
    return {
        **tool.listing(),
        "server_id": "fluxbase",
        "server_name": "fluxbase",
        "tool": tool.name,
    }


def _arguments(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidArgument("the body is a JSON object of the tool's arguments")
    return cast("dict[str, Any]", body)


def _is_local_stranger(scope: Scope) -> bool:
    """Return whether a request without a credential comes from this very machine.

    What a proxy on this machine passes on does not: it says so in a header.
    """
    names = [name for name, _ in scope["headers"]]
    if any(name in _CREDENTIALS or name.startswith(_FORWARDED) for name in names):
        return False
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False
