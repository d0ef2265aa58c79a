"""Does for a function what it may not do itself: calls tools and fetches; it must not run code.

Tools are called with the rights of the function's caller, through the same door as by anybody else:
scopes, lists, row-level security and records are the same.
"""

from __future__ import annotations

import base64
import logging
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import orjson

from fluxbase.errors import (
    DeadlineExceeded,
    FluxbaseError,
    Forbidden,
    InternalError,
    InvalidArgument,
    RateLimited,
)
from fluxbase.principal import ALL_SCOPES, Principal
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.functions.registry import Function
    from fluxbase.toolkit import Context

log = logging.getLogger(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# What the way itself decides, or what would say where the call comes from.
_OURS: Final = frozenset(
    (
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer",
        "keep-alive", "proxy-authorization", "proxy-connection", "expect",
    )
)  # fmt: skip

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_FIELD: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Fetch(Protocol):
    """The way out; `fluxbase.egress.request.Outbound` is."""

    async def request(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the status, headers and body of what an address answers.

        Raises:
            FluxbaseError: it cannot be had.
        """
        ...


class Broker:
    """What one call of a function may ask for."""

    def __init__(
        self,
        ctx: Context,
        function: Function,
        fetch: Fetch,
        egress: tuple[str, ...],
        most: int,
    ) -> None:
        self._ctx = ctx
        self._who = _service(function) if function.runs_as == "service" else None
        self._fetch = fetch
        self._egress = egress
        self._left = most

    async def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to a message; what is wrong with it is a reply too."""
        reply = {"t": "reply", "n": message.get("n")}
        try:
            return {**reply, "ok": await self._done(message)}
        except Exception as error:  # noqa: BLE001 - without a reply a function waits for its end
            return {**reply, "error": _known(error).as_dict()}

    async def _done(self, message: Mapping[str, Any]) -> object:
        self._left -= 1
        if self._left < 0:
            raise RateLimited("a call of a function may not ask for so much")
        if message["t"] == "fetch":
            return await self._fetched(message)
        return await self._called(message)

    async def _called(self, message: Mapping[str, Any]) -> object:
        # What a caller may not send to a tool a function may not either: depth, number of values.
        tool, arguments = message["tool"], loads(orjson.dumps(message["arguments"]))
        answer = await self._ctx.call(tool, arguments, who=self._who)
        if answer.blocks:
            raise InternalError  # no tool of ours gives them
        return orjson.Fragment(answer.structured)

    async def _fetched(self, message: Mapping[str, Any]) -> dict[str, Any]:
        url, method = str(message["url"]), str(message["method"]).upper()
        host = urlsplit(url).hostname or ""
        if not any(fnmatchcase(host, known) for known in self._egress):
            raise Forbidden(
                "fetch: this host is not one that functions may reach",
                hint="an administrator lists hosts in functions.egress",
            )
        if method not in _METHODS:
            raise InvalidArgument("fetch: this method is not known")
        headers = [header(name, value) for name, value in message["headers"]]
        headers = [(name, value) for name, value in headers if name not in _OURS]
        body = unpacked(message)
        status, kept, found = await self._fetch.request(method, url, headers, body)
        return {"status": status, "headers": kept, **packed(found)}


def packed(body: bytes) -> dict[str, Any]:
    """Return a body as it travels to the sandbox: as text where it is text."""
    if not body:
        return {"body": None}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "base64": True}


def unpacked(message: Mapping[str, Any]) -> bytes:
    """Return the body of a message from the sandbox.

    Raises:
        ValueError: it is not what it says.
    """
    body = message.get("body")
    if body is None:
        return b""
    return base64.b64decode(body, validate=True) if message.get("base64") else str(body).encode()


def _known(error: Exception) -> FluxbaseError:
    if isinstance(error, FluxbaseError):
        return error
    if isinstance(error, KeyError | TypeError | ValueError):
        return InvalidArgument("the function asked in a way that is not understood")
    if isinstance(error, TimeoutError):
        return DeadlineExceeded()
    log.error("what a function asked for failed", exc_info=error)
    return InternalError()


def header(name: object, value: object) -> tuple[str, str]:
    """Return a header of a message from the sandbox, its name in small letters.

    Raises:
        ValueError: it is none. What it says was not made by `Headers` of Deno if the function wrote
            the message itself, so that a line break in it would begin a header of its own.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise ValueError("a header is text")  # noqa: TRY004 - all that is wrong is one error
    if not _TOKEN.fullmatch(name) or not _FIELD.fullmatch(value):
        raise ValueError("a header has characters that none has")
    return name.lower(), value


def _service(function: Function) -> Principal:
    return Principal(
        kind="service_key",
        id=f"function:{function.full_name}",
        name=f"function {function.full_name}",
        role="service_role",
        claims='{"role":"service_role"}',
        scopes=frozenset({ALL_SCOPES}),
    )
