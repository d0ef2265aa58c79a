"""What every route of files has in common: who calls, what was asked, how a refusal looks.

A key or token in a header calls as itself. A signed URL calls as whoever made it, for the one thing
it allows. Without either somebody is nobody, and reads what is public.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import orjson

from fluxbase.errors import (
    FluxbaseError,
    Forbidden,
    InternalError,
    InvalidArgument,
    Unauthenticated,
    UnknownTool,
)
from fluxbase.http.disconnect import ClientGone
from fluxbase.http.visit import Visit
from fluxbase.principal import Principal
from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.types import Receive, Scope, Send

    from fluxbase.http.gate import Gate
    from fluxbase.http.head import Headers
    from fluxbase.observe import Observer
    from fluxbase.storage.service import Storage
    from fluxbase.storage.signing import Pass
    from fluxbase.toolkit.runner import Runner

log = logging.getLogger(__name__)

_CREDENTIALS: Final = frozenset({b"x-client-key", b"x-service-key", b"authorization"})
_SILENCE: Final = 60.0  # seconds without a byte after which a sender counts as gone
_ANYBODY: Final = Principal(
    kind="user",
    id="anonymous",
    name="anonymous",
    role="anon",
    claims='{"role":"anon"}',
    scopes=frozenset({"read:storage"}),
)


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes of files need of the rest."""

    gate: Gate
    runner: Runner
    observer: Observer
    storage: Storage


class Asked:
    """One request: its method, headers and query, and who is behind it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, gate: Gate) -> None:
        client = scope.get("client")
        self.visit = Visit(gate, scope["headers"], client[0] if client else None)
        self.method: str = scope["method"]
        self.path: Mapping[str, str] = scope.get("path_params", {})
        self.headers = _joined(scope["headers"])
        self.query = _query(scope["query_string"])
        self.send = send
        self.allowed: Pass | None = None
        self._receive = receive

    async def enter(self, rooms: Rooms, tool: str) -> Request:
        """Return the caller, who must be one that may use a tool.

        Raises:
            Unauthenticated: there is no valid credential, and one is needed.
            Forbidden: the caller may not do this.
        """
        who = await self._caller(rooms)
        if who is not _ANYBODY:
            try:
                rooms.runner.toolbox.find_tool(who, tool)
            except UnknownTool:
                raise Forbidden(f"this needs a key that may use {tool}") from None
        return Request(who, self.visit.id, self.visit.remote)

    async def _caller(self, rooms: Rooms) -> Principal:
        token = self.query.get("token")
        sent = any(name in _CREDENTIALS for name, _ in self.visit.sent)
        if token is None:
            if sent:
                return await self.visit.enter()
            if self.method not in ("GET", "HEAD"):
                raise Unauthenticated
            await self.visit.enter_as(_ANYBODY, f"anonymous/{self.visit.remote}")
            return _ANYBODY
        if sent:
            raise InvalidArgument("send a key or the token of a signed URL, not both")
        allowed = rooms.storage.signer.open(token)
        verb = "GET" if self.method == "HEAD" else self.method
        if (allowed.method, allowed.bucket, allowed.key) != (
            verb,
            self.path.get("bucket"),
            self.path.get("key"),
        ):
            raise Forbidden("this URL was signed for something else")
        who = await self.visit.again_as(allowed.who)
        await self.visit.enter_as(who, who.id)
        self.allowed = allowed
        return who

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody in particular asks."""
        return self.visit.who is _ANYBODY

    async def body(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes.

        Raises:
            ClientGone: the client left, or fell silent, before its end.
        """
        while True:
            try:
                async with asyncio.timeout(_SILENCE):
                    message = await self._receive()
            except TimeoutError:
                raise ClientGone from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer; to HEAD without its body."""
        headers = [*self.visit.headers(), *headers]
        if status not in (204, 304) and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(body)))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if self.method == "HEAD" else body
        await self.send({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: object, headers: Headers | None = None) -> None:
        """Send a JSON answer."""
        kind = (b"content-type", b"application/json")
        await self.answer(status, [kind, *(headers or [])], orjson.dumps(value))

    async def refuse(self, rooms: Rooms, error: Exception, headers: Headers | None = None) -> None:
        """Say that it went wrong."""
        known = error if isinstance(error, FluxbaseError) else InternalError()
        if isinstance(known, InternalError):
            log.error("request %s failed", self.visit.id, exc_info=error)
            known = InternalError(hint=f"request {self.visit.id}")
        rooms.observer.refused.labels(known.code).inc()
        refused = rooms.gate.refusal_headers(known, self.visit.sent)
        self.visit.forget_quota(refused)
        body = {"error": known.as_dict()}
        await self.answer_json(known.status, body, [*refused, *(headers or [])])


def _joined(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        text = value.decode("latin-1").strip(" \t")
        key = name.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _query(text: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(text.decode("latin-1"), max_num_fields=20))
    except ValueError:  # nothing that is asked for here has so many
        return {}


def whole(text: str | None, name: str) -> int | None:
    """Return a header's number of bytes.

    Raises:
        InvalidArgument: it is none.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidArgument(f"{name}: a number of bytes is expected")
    return int(text)
