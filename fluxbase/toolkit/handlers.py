"""What a job can have done, whichever room does it; it must not know any of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbase.toolkit.context import Context
    from fluxbase.toolkit.json_text import JsonValue


class Task(NamedTuple):
    """One attempt at a job, as its handler sees it.

    `key` is the same in every attempt: an effect that is done under it is done once.
    `report` takes a percentage, or nothing, and a message, or nothing; `log` a level and a line.
    """

    id: str
    key: str
    attempt: int
    timeout: float
    report: Callable[[float | None, str | None], Awaitable[None]]
    log: Callable[[str, str], Awaitable[None]]


class Handler(Protocol):
    """One kind of handler: a room that runs what it has published."""

    async def check(self, ctx: Context, target: str) -> None:
        """See that there is such a target, when a job is defined that is to be handled by it.

        Raises:
            FluxbaseError: there is none.
        """
        ...

    async def run(self, ctx: Context, target: str, payload: Any, task: Task) -> JsonValue:
        """Do a job as its caller, and return its result.

        The job decides who may submit it, so no roles or scopes of the target are asked for.

        Raises:
            FluxbaseError: it failed; whether it may be tried again is told by `retryable`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Handlers:
    """The kinds of handlers that there are, by their names."""

    kinds: Mapping[str, Handler] = field(default_factory=dict[str, Handler])

    def find(self, kind: str) -> Handler:
        """Return a kind of handler.

        Raises:
            InvalidArgument: there is no such kind.
        """
        found = self.kinds.get(kind)
        if found is None:
            raise InvalidArgument("handler: no such kind; known: " + ", ".join(self.kinds))
        return found
