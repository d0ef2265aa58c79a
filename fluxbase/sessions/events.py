"""What streams have sent, kept for clients that come back for what they missed; knows no meaning.

Source: MCP 2025-03-26 to 2025-11-25, transports, resumability and redelivery.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from fluxbase.errors import FluxbaseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.db.database import Database
    from fluxbase.sessions.post import Post

_ID: Final = re.compile(r"([0-9a-f]{12})\.([0-9]{1,9})", re.ASCII)
_KEPT: Final = 300.0  # seconds
_LARGEST: Final = 262_144  # bytes: larger ones are had by asking again rather than kept
_BEAT: Final = 15.0
_SILENCE: Final = 600.0  # without a word for so long, a stream's work is taken for lost


class Event(NamedTuple):
    """One message of a stream and the id under which a client comes back to it."""

    id: str
    message: bytes


class Stream:
    """The stream of one answer."""

    def __init__(self, database: Database, session: str) -> None:
        self._database = database
        self._session = session
        self._name = secrets.token_hex(6)
        self._number = -1

    async def keep(self, message: bytes, *, last: bool = False) -> str | None:
        """Keep a message and return its id; `None` when it cannot be kept.

        A client that stays gets it all the same, so that is no reason to fail.
        """
        self._number += 1
        if len(message) > _LARGEST:
            if not last:
                return None
            message = _instead(message)
        news = {"kind": "event", "session": self._session, "stream": self._name}
        with suppress(FluxbaseError):
            await self._database.admin(
                "keep_event",
                session=self._session,
                stream=self._name,
                number=self._number,
                message=message.decode(),
                last=last,
                announce=orjson.dumps(news).decode(),
            )
            return f"{self._name}.{self._number}"
        return None


def _instead(answer: bytes) -> bytes:
    """Return what a client that comes back gets in place of an answer too large to be kept."""
    told = {"code": -32004, "message": "the answer was too large to be kept; make the call again"}
    return orjson.dumps({"jsonrpc": "2.0", "id": orjson.loads(answer).get("id"), "error": told})


class Events:
    """The streams of all sessions."""

    def __init__(self, database: Database, post: Post) -> None:
        self._database = database
        self._post = post

    def begin(self, session: str) -> Stream:
        """Return a stream of which nothing is kept yet."""
        return Stream(self._database, session)

    async def find(self, session: str, event_id: str) -> tuple[str, int] | None:
        """Return the stream and the number that an id names, if the session has that stream."""
        match = _ID.fullmatch(event_id)
        if match is None:
            return None
        rows = await self._database.admin("has_stream", session=session, stream=match[1])
        return (match[1], int(match[2])) if rows[0]["known"] else None

    async def follow(self, session: str, stream: str, after: int) -> AsyncGenerator[Event | None]:
        """Yield what comes after a message of a stream up to its end; `None` when it is silent."""
        silent = 0.0
        with self._post.bell(session, stream) as bell:
            while silent < _SILENCE:
                bell.clear()
                rows = await self._database.admin(
                    "read_events", session=session, stream=stream, after=after
                )
                for row in rows:
                    after, silent = row["number"], 0.0
                    yield Event(f"{stream}.{after}", row["message"].encode())
                    if row["last"]:
                        return
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT):
                        await bell.wait()
                        continue
                silent += _BEAT
                yield None

    async def prune(self) -> None:
        """Delete what nobody will come back for."""
        await self._database.admin("prune_events", age=_KEPT)
