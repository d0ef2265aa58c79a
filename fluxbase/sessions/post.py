"""Brings what concerns a session to the part of a process that waits for it.

An answer, a cancellation or a further message may arrive at any instance, and is wanted in the one
where the call runs or the stream is open: instances tell one another through NOTIFY. It must not
know what the messages say.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from fluxbase.db.database import Database

_MOST_WAITING: Final = 10_000
_PREFIX: Final = "fluxbase-"


class Post:
    """What waits in this process, by session."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key
        self._answers: dict[tuple[str, str], asyncio.Future[Mapping[str, Any]]] = {}
        self._running: dict[tuple[str, str | int], Callable[[], None]] = {}
        self._bells: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._fetching: set[asyncio.Task[None]] = set()

    @contextmanager
    def expecting(self, session: str) -> Generator[tuple[str, asyncio.Future[Mapping[str, Any]]]]:
        """Yield the id for a request to the client, and what will hold its response."""
        word = secrets.token_hex(8)
        id_ = f"{_PREFIX}{word}-{self._mark(session, word)}"
        waiting = asyncio.get_running_loop().create_future()
        self._answers[session, id_] = waiting
        try:
            yield id_, waiting
        finally:
            del self._answers[session, id_]
            waiting.cancel()

    async def answered(self, session: str, id_: str | int | None, response: bytes) -> None:
        """Hand a client's response to whoever asked, here or in another instance."""
        if not isinstance(id_, str) or not self._is_ours(session, id_):
            return  # nobody asked: what is made up must not fill the database
        waiting = self._answers.get((session, id_))
        if waiting is not None:
            _settle(waiting, response)
            return
        await self._database.admin(
            "keep_event",
            session=session,
            stream=f"answer {id_}",
            number=0,
            message=response.decode(),
            last=True,
            announce=_words(kind="answer", session=session, id=id_),
        )

    @contextmanager
    def running(
        self, session: str, request: str | int | None, stop: Callable[[], None]
    ) -> Generator[None]:
        """Let `cancel` reach a call for as long as the block lasts."""
        key = (session, request if request is not None else "")
        if request is None or key in self._running or len(self._running) >= _MOST_WAITING:
            yield
            return
        self._running[key] = stop
        try:
            yield
        finally:
            del self._running[key]

    async def cancel(self, session: str, request: object) -> None:
        """Stop a call of the session's, wherever it runs; one that is over stays so."""
        if not isinstance(request, str | int):
            return
        if not self._stop(session, request):
            message = _words(kind="cancel", session=session, request=request)
            await self._database.admin("announce_session", message=message)

    @contextmanager
    def bell(self, session: str, stream: str) -> Generator[asyncio.Event]:
        """Yield what rings when there is something new in a stream."""
        bell = asyncio.Event()
        bells = self._bells.setdefault((session, stream), set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop((session, stream), None)

    def hear(self, news: Mapping[str, Any]) -> None:
        """Take in what another instance tells."""
        kind, session = news.get("kind"), str(news.get("session"))
        if kind == "cancel":
            self._stop(session, cast("str | int", news.get("request")))
        elif kind == "event":
            self.ring(session, str(news.get("stream")))
        elif kind == "answer" and (session, str(news.get("id"))) in self._answers:
            fetching = asyncio.ensure_future(self._fetch(session, str(news["id"])))
            self._fetching.add(fetching)
            fetching.add_done_callback(self._fetching.discard)

    def ring(self, session: str = "", stream: str = "") -> None:
        """Ring the bells of a stream; of all when nothing is named, for something may be missed."""
        for key, bells in self._bells.items():
            if not session or key == (session, stream):
                for bell in bells:
                    bell.set()

    def end(self, session: str) -> None:
        """Stop the calls of a session that has ended, and whoever reads its streams."""
        for key, stop in list(self._running.items()):
            if key[0] == session:
                stop()
        for key, bells in self._bells.items():
            if key[0] == session:
                for bell in bells:
                    bell.set()

    def _is_ours(self, session: str, id_: str) -> bool:
        word, _, mark = id_.removeprefix(_PREFIX).partition("-")
        return id_.isascii() and hmac.compare_digest(mark, self._mark(session, word))

    def _mark(self, session: str, word: str) -> str:
        return hmac.new(self._key, f"{session} {word}".encode(), "sha256").hexdigest()[:24]

    def _stop(self, session: str, request: str | int) -> bool:
        stop = self._running.get((session, request))
        if stop is not None:
            stop()
        return stop is not None

    async def _fetch(self, session: str, id_: str) -> None:
        rows = await self._database.admin(
            "read_events", session=session, stream=f"answer {id_}", after=-1
        )
        waiting = self._answers.get((session, id_))
        if rows and waiting is not None:
            _settle(waiting, rows[0]["message"].encode())


def _settle(waiting: asyncio.Future[Mapping[str, Any]], response: bytes) -> None:
    if not waiting.done():
        waiting.set_result(orjson.loads(response))


def _words(**news: object) -> str:
    return orjson.dumps(news).decode()
