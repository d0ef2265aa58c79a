"""One message's circumstances: who sends it, in which session, and the way back; pure words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fluxbase.toolkit.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.principal import Principal
    from fluxbase.sessions.book import Session
    from fluxbase.toolkit.client import Client


class Charge(Protocol):
    """Counts one more call of the same caller; a batch is charged by its messages."""

    async def __call__(self) -> None:
        """Raise `RateLimited` when the caller has no calls left."""
        ...


class Channel(Protocol):
    """The way back to a client before its answer is there: messages, one after another."""

    async def send(self, message: bytes, *, name: str | None = None) -> None:
        """Send one message; `name` is under which the client may come back to it."""
        ...

    async def ping(self) -> None:
        """Give a sign of life that means nothing."""
        ...

    async def hang_up(self) -> None:
        """Close the way where the client can come back for what is still to come."""
        ...


@dataclass(slots=True)
class Turn:
    """What a message comes with.

    Without a `channel` nothing can be told before the answer; `again` looks at the credential of a
    long stream once more; `opened` is told the id of a session that begins with this message.
    """

    request: Request
    headers: Mapping[str, str]
    charge: Charge
    session: Session | None = None
    channel: Channel | None = None
    again: Again | None = None
    opened: Callable[[str], None] | None = None

    def hears(self, client: Client) -> None:
        """Let the work tell and ask a client."""
        request = self.request
        self.request = Request(request.who, request.request_id, request.remote, client)


class Again(Protocol):
    """Looks at the credential of a stream once more."""

    async def __call__(self) -> Principal:
        """Return the caller as it is now, or raise `Unauthenticated`."""
        ...
