"""What a tool may tell and ask its client in the middle of a call; it must not know how.

Nobody may be listening: then what is told is dropped, and a question is refused. So a tool that
asks looks first whether the client `can`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from fluxbase.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

Level = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
LEVELS: Final[tuple[Level, ...]] = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)


class Question(NamedTuple):
    """A request to the client: `elicitation/create`, `sampling/createMessage` or `roots/list`."""

    method: str
    params: Mapping[str, Any]

    @property
    def capability(self) -> str:
        """What a client has to be capable of in order to be asked."""
        return self.method.partition("/")[0]


class Client(Protocol):
    """The client of one call."""

    @property
    def state(self) -> Any:
        """What an earlier round of this call kept with `ask`; `None` in the first one."""
        ...

    def can(self, capability: str) -> bool:
        """Return whether the client declared `elicitation`, `sampling` or `roots`."""
        ...

    async def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the call is; `done` grows from one to the next."""
        ...

    async def log(self, level: Level, data: Any, logger: str | None = None) -> None:
        """Tell what happened, to a client that wants to hear of that level."""
        ...

    async def ask(
        self, questions: Mapping[str, Question], state: Any = None
    ) -> Mapping[str, Mapping[str, Any]]:
        """Return the client's answers by the names of the questions.

        A client of the modern era answers by making the whole call again: the tool then runs from
        its start, and `ask` returns at once. `state` is kept for that time, in the client's hands
        but proof against its changes. So ask before doing anything.

        Raises:
            MissingCapability: the client did not say that it can answer this.
        """
        ...

    async def hang_up(self) -> None:
        """Let the client come back for the rest, where it can: this call takes long."""
        ...


class MissingCapability(Forbidden):
    """The call needs a client that can be asked, and this one cannot."""

    title = "The client cannot be asked what this call needs to know"

    def __init__(self, *capabilities: str) -> None:
        named = ", ".join(sorted(set(capabilities)))
        super().__init__(
            f"this call needs a client with the capability: {named}",
            hint="use a client that declares it, and that takes event streams",
        )
        self.capabilities = capabilities


class MissingInput(Exception):
    """The call has to be made again with the client's answers; no failure, so it is no error."""

    def __init__(self, questions: Mapping[str, Question], state: Any) -> None:
        super().__init__("the client has to be asked first")
        self.questions = questions
        self.state = state


class Deaf:
    """A client that hears nothing and cannot be asked."""

    state: Any = None

    def can(self, capability: str) -> bool:
        """Return that it cannot."""
        del capability
        return False

    async def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Drop it."""

    async def log(self, level: Level, data: Any, logger: str | None = None) -> None:
        """Drop it."""

    async def ask(
        self, questions: Mapping[str, Question], state: Any = None
    ) -> Mapping[str, Mapping[str, Any]]:
        """Refuse."""
        del state
        raise MissingCapability(*(q.capability for q in questions.values()))

    async def hang_up(self) -> None:
        """Go on."""


DEAF: Final = Deaf()
