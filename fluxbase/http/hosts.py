"""Who a request may be addressed to and sent by a page from; it must not know routes or callers.

A browser on the user's machine can be made to talk to this server by any page it shows: under a
foreign name that resolves here (DNS rebinding), which the Host header gives away, or directly,
which the Origin header gives away. Programs send no Origin and pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.errors import ConfigError, Forbidden
from fluxbase.http.head import once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]|\*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_HOST = re.compile(rb"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{0,5})?")

_OWN_SCHEMES: Final = frozenset({b"http", b"https"})
# What every answer says: it is not to be stored and not to be sniffed.
PRIVATE: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class HostGuard:
    """ASGI middleware: foreign Host or Origin is 403; answers are not stored and not sniffed."""

    def __init__(
        self, app: App, *, allowed_hosts: Iterable[str], allowed_origins: Iterable[str] = ()
    ) -> None:
        self._app = app
        names = [_host_pattern(host) for host in allowed_hosts]
        self._any = "*" in names
        self._exact = frozenset(name.encode() for name in names if not name.startswith("*"))
        self._suffixes = tuple(name[1:].encode() for name in names if name.startswith("*."))
        self._origins = frozenset(_origin(origin).encode() for origin in allowed_origins)
        self._bad_host = _Answer(Forbidden("This server does not answer to that Host"))
        self._bad_origin = _Answer(Forbidden("Pages of that Origin may not call this server"))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Check the two headers, then pass the request on with the answer's headers completed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = once(scope["headers"], self._check)
        if answer is not None:
            await answer(send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message.get("headers", ()))
            await send(message)

        await self._app(scope, receive, complete)

    def _check(self, headers: Iterable[tuple[bytes, bytes]]) -> _Answer | None:
        host = origin = None
        for name, value in headers:
            if name == b"host":
                if value not in self._exact and not self._is_known(value):
                    return self._bad_host
                host = value
            elif name == b"origin":
                if origin is not None:
                    return self._bad_origin
                origin = value
        if host is None and not self._any:
            return self._bad_host
        return self._bad_origin if origin is not None and not self._is_ours(origin, host) else None

    def _is_known(self, value: bytes) -> bool:
        # Reached by every Host with a port or in capitals; still one match and one lookup.
        match = _HOST.fullmatch(value.lower())
        if match is None:
            return False
        name = match[1].removesuffix(b".")
        return self._any or name in self._exact or name.endswith(self._suffixes)

    def _is_ours(self, origin: bytes, host: bytes | None) -> bool:
        """Return whether a page may call: one of the allowed, or one that came from here itself.

        The Host was judged before, so a foreign name that resolves to this machine is no way in.
        """
        origin = origin.lower()
        if origin in self._origins:
            return True
        scheme, _, authority = origin.partition(b"://")
        return host is not None and scheme in _OWN_SCHEMES and authority == host.lower()


class _Answer:
    """A refusal, rendered once."""

    def __init__(self, error: Forbidden) -> None:
        self._body = orjson.dumps({"error": error.as_dict()})
        self._status = error.status
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._body)).encode()),
            *PRIVATE,
        ]

    async def __call__(self, send: Send) -> None:
        headers = list(self._headers)
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def _completed(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    completed = list(headers)
    names = {name.lower() for name, _ in completed}
    completed.extend(header for header in PRIVATE if header[0] not in names)
    return completed


def _host_pattern(pattern: str) -> str:
    name = pattern.lower()
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "An allowed host is not a host name",
            hint="write a name, an address, *.name or *; without scheme, port or path",
        )
    return name


def _origin(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin.lower()):
        raise ConfigError(
            "An allowed origin is not an origin",
            hint="write scheme://host or scheme://host:port, such as https://app.example.com",
        )
    return origin.lower()
