"""What every HTTP contestant needs: its requests written down, its first answers looked at."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

from tests.bench.load import Http
from tests.bench.work import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.processes import Child
    from tests.bench.work import Work
    from tests.bench.world import Caller, World

Rows = list[dict[str, Any]]
_READY: Final = 30.0
_LEAST: Final = 200  # different requests in a file, so that no id comes twice in a row


class LeftOutError(Exception):
    """A contestant cannot take part; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP request."""

    method: str
    target: str
    head: dict[str, str]
    body: bytes

    def raw(self) -> bytes:
        """Return it as it goes over the wire."""
        head = {"Host": "127.0.0.1", **self.head}
        if self.body:
            head["Content-Length"] = str(len(self.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


@dataclass(frozen=True, slots=True)
class Speech:
    """How a server is asked for a piece of work, and where the rows stand in its answer."""

    ask: Callable[[Work, Caller, int], Message]
    rows: Callable[[Work, Any], Rows]


def served(
    world: World, name: str, child: Child, speech: Speech, work: Work, callers: Sequence[Caller]
) -> Http:
    """Write the requests of a contestant and see that each caller gets the right rows.

    Raises:
        LeftOutError: it answers with something else.
    """
    sent = [
        (callers[n % len(callers)], speech.ask(work, callers[n % len(callers)], n + 1))
        for n in range(max(len(callers), _LEAST))
    ]
    path = world.home / f"{name}.requests"
    with path.open("wb") as file:
        for _, message in sent:
            raw = message.raw()
            file.write(b"%d\n%s\n" % (len(raw), raw))
    size = 0
    for caller, message in sent[: len(callers)]:
        text, size = answered(child.port, message)
        try:
            work.check(speech.rows(work, json.loads(text)), caller.user_id)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, WrongAnswer) as error:
            said = text[:500].decode("utf-8", "replace")
            raise LeftOutError(f"{type(error).__name__}: {error}; it said {said}") from None
    written = partial(world.notes, callers[0]) if work.writes else None
    return Http(child.pid, child.port, path, size, world.postmaster, written)


def answered(port: int, message: Message) -> tuple[bytes, int]:
    """Return an answer's body, and how long the answer is in all."""
    until = time.monotonic() + _READY
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(message.method, message.target, message.body or None, message.head)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        # A port is open before what is behind it has looked at the database.
        if response.status != 503 or time.monotonic() > until:
            break
        time.sleep(0.2)
    lines = sum(len(name) + len(value) + 4 for name, value in response.getheaders())
    return text, len(text) + lines + len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")


def compact(value: Any) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def texts(answer: Any) -> list[Any]:
    """Return the JSON in the text blocks of a tool's result."""
    return [json.loads(block["text"]) for block in answer["result"]["content"]]
