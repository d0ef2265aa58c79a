"""One request of a caller: who it is, what it has left, and how it is told; knows no route."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fluxbase.http.disconnect import run_until_disconnect
from fluxbase.http.exchange import check_length, read_body
from fluxbase.http.gate import quota_headers
from fluxbase.http.headers import SESSION

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive

    from fluxbase.http.gate import Gate
    from fluxbase.http.head import Headers
    from fluxbase.limits.rate import Quota
    from fluxbase.principal import Principal

T = TypeVar("T")

# Ids tell requests apart in logs; they are no secret, so a counter after a random start will do.
_RUN: Final = secrets.token_hex(4)
_NUMBERS: Final = itertools.count()


class Incoming(Protocol):
    """Where the body of a request comes from, and word of its client's leaving."""

    async def read(self, most: int) -> bytes:
        """Return the body, or raise `TooLarge` or `ClientGone`."""
        ...

    async def until_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work, or raise `ClientGone` when the client leaves before its end."""
        ...

    def detach(self) -> None:
        """Let the work go on although the client leaves."""
        ...


class Received:
    """The incoming side of any ASGI server."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._headers = headers
        self._detached = False

    async def read(self, most: int) -> bytes:
        """Return the body, or raise `TooLarge` or `ClientGone`."""
        check_length(self._headers, most)
        return await read_body(self._receive, most)

    async def until_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work, or raise `ClientGone` when the client leaves before its end."""
        return await run_until_disconnect(work, self._receive, goes_on=lambda: self._detached)

    def detach(self) -> None:
        """Let the work go on although the client leaves."""
        self._detached = True


class Visit:
    """One request: what is known of its caller, and what its answer has to carry."""

    __slots__ = ("_gate", "id", "quota", "remote", "sent", "session", "who")

    def __init__(self, gate: Gate, headers: Headers, remote: str | None) -> None:
        self.id = f"{_RUN}{next(_NUMBERS):08x}"
        self.quota: Quota | None = None
        self.session: str | None = None
        self.sent = headers
        self.remote = remote
        self._gate = gate

    async def enter(self) -> Principal:
        """Return the caller, counted once; see `Gate.admit` for what is raised."""
        self.who, self.quota = await self._gate.admit(self.sent, self.remote, self.id)
        return self.who

    async def enter_as(self, who: Principal, counted: str) -> None:
        """Take somebody for the caller, counted once under a name; raises `RateLimited`."""
        self.who = who
        self.quota = await self._gate.charge(who, counted)

    async def again_as(self, who: Principal) -> Principal:
        """Return somebody as it is now, or raise `Unauthenticated`."""
        return await self._gate.current(who)

    async def charge(self) -> None:
        """Count one more call of the caller, or raise `RateLimited`."""
        self.quota = await self._gate.charge(self.who)

    async def again(self) -> Principal:
        """Return the caller as it is now, or raise `Unauthenticated`."""
        return await self._gate.recognize(self.sent, self.remote)

    def opened(self, session: str) -> None:
        """Tell the client of a session that begins."""
        self.session = session

    def headers(self) -> Headers:
        """Return what every answer to this request carries."""
        headers: Headers = [(b"x-request-id", self.id.encode())]
        if self.session is not None:
            headers.append((SESSION.encode(), self.session.encode()))
        if self.quota is not None:
            headers += quota_headers(self.quota)
        return headers

    def headers_with(self, refused: Headers) -> Headers:
        """Return those headers and what a refusal says; of the quota the refusal knows better."""
        self.forget_quota(refused)
        return self.headers() + refused

    def forget_quota(self, refused: Headers) -> None:
        """Leave it to a refusal to say what is left of the calls, where it does."""
        if any(name == b"ratelimit" for name, _ in refused):
            self.quota = None
