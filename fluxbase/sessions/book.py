"""The sessions of all clients, kept in Postgres so that any instance serves any of them.

A session read from the database is trusted for a few seconds; an announcement of its end or change
drops it at once. It must not know what a session is used for.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.db.single_flight import SingleFlight
from fluxbase.errors import FluxbaseError, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.database import Database
    from fluxbase.principal import Principal

_LIVE: Final = 5.0  # seconds a session is trusted without asking
_REMEMBERED: Final = 20_000
_UNUSED: Final = 300.0  # seconds after which a session that nobody came back to is given up
_MOST_SUBSCRIPTIONS: Final = 100
_LONGEST_URI: Final = 2048
_ID_BYTES: Final = 24
_ASKED: Final = ("elicitation", "roots", "sampling")  # what a client can be asked


@dataclass(frozen=True, slots=True)
class Caps:
    """How long sessions last and how many there may be; seconds and numbers."""

    timeout: float = 3600.0
    per_principal: int = 100
    in_all: int = 10_000


@dataclass(slots=True)
class Session:
    """One session as it was read, `loaded` by the monotonic clock."""

    id: str
    principal: str
    version: str
    capabilities: frozenset[str]
    log_level: str | None
    subscriptions: frozenset[str]
    loaded: float


class TooManySessions(Unavailable):
    """The caller, or all of them together, have as many sessions as there may be."""

    title = "Too many sessions"


class Sessions:
    """Opens, finds and ends sessions; one belongs to a key, or to one assistant of a user."""

    def __init__(self, database: Database, caps: Caps) -> None:
        self._database = database
        self.caps = caps
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._uses: dict[str, float] = {}
        self._epoch = 0
        self._flights: SingleFlight[Session | None] = SingleFlight()

    async def open(self, who: Principal, version: str, capabilities: Mapping[str, Any]) -> str:
        """Open a session and return its id.

        Raises:
            TooManySessions: the caller has as many as it may have, or all together have.
        """
        id_ = secrets.token_urlsafe(_ID_BYTES)
        rows = await self._database.admin(
            "open_session",
            id=id_,
            principal=who.owner,
            version=version,
            client=orjson.dumps([name for name in _ASKED if name in capabilities]).decode(),
            timeout=self.caps.timeout,
            unused=_UNUSED,
            per_principal=self.caps.per_principal,
            in_all=self.caps.in_all,
        )
        full = rows[0]["full"]
        if full is not None:
            whose = "this key" if full == "principal" else "this server"
            raise TooManySessions(
                f"{whose} has as many sessions open as are allowed",
                hint="end sessions with DELETE when you are done; idle ones end by themselves",
                retry_after=max(1, min(60, round(self.caps.timeout))),
            )
        return id_

    async def find(self, who: Principal, id_: str) -> Session | None:
        """Return the caller's session of that id and note its use; `None` when it has none."""
        owner, now = who.owner, time.monotonic()
        session = self._known.get(id_)
        if session is not None and session.principal != owner:
            return None
        if session is None or now - session.loaded > min(_LIVE, self.caps.timeout):
            if not id_.isascii() or len(id_) > _ID_BYTES * 2:
                return None
            load = partial(self._load, owner, id_)
            return await self._flights.ask((owner, id_, self._epoch), load)
        self._uses[id_] = time.time()
        return session

    async def end(self, who: Principal, id_: str) -> bool:
        """End a session; return whether the caller had it."""
        self.forget(id_)
        rows = await self._database.admin("end_session", id=id_, principal=who.owner)
        return bool(rows)

    async def set_log_level(self, session: Session, level: str) -> None:
        """Keep the least level of which the session wants to hear."""
        await self._database.admin("set_session_log_level", id=session.id, level=level)
        session.log_level = level

    async def subscribe(self, session: Session, uri: str) -> None:
        """Add a resource to those of which the session wants to hear.

        Raises:
            InvalidArgument: the URI is too long, or there are too many.
        """
        if len(uri) > _LONGEST_URI:
            raise InvalidArgument(f"'uri' has more than {_LONGEST_URI} characters")
        most = _MOST_SUBSCRIPTIONS
        if not await self._database.admin("subscribe_session", id=session.id, uri=uri, most=most):
            raise InvalidArgument(
                f"a session subscribes to at most {most} resources",
                hint="unsubscribe from those that are not needed any more",
            )
        session.subscriptions |= {uri}

    async def unsubscribe(self, session: Session, uri: str) -> None:
        """Take a resource from those of which the session wants to hear."""
        await self._database.admin("unsubscribe_session", id=session.id, uri=uri)
        session.subscriptions -= {uri}

    def forget(self, id_: str = "") -> None:
        """Drop what is remembered of one session, or of all when the id is empty."""
        self._epoch += 1
        if id_:
            self._known.pop(id_, None)
        else:
            self._known.clear()

    async def flush(self) -> None:
        """Write down when sessions were used last."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            rows = [{"id": id_, "at": datetime.fromtimestamp(at, UTC)} for id_, at in uses.items()]
            await self._database.admin("touch_sessions", uses=orjson.dumps(rows).decode())
        except FluxbaseError:
            self._uses = {**uses, **self._uses}
            raise

    async def sweep(self) -> None:
        """End the sessions that ran out, and those of keys that are no more."""
        await self.flush()
        await self._database.admin("end_idle_sessions", timeout=self.caps.timeout, unused=_UNUSED)
        await self._database.admin("end_sessions_of_keys")

    async def _load(self, owner: str, id_: str) -> Session | None:
        epoch, asked = self._epoch, time.monotonic()
        # What this instance has not written down yet must not look like idleness.
        used = self._uses.pop(id_, None)
        rows = await self._database.admin(
            "find_session",
            id=id_,
            principal=owner,
            timeout=self.caps.timeout,
            unused=_UNUSED,
            used=used,
        )
        if not rows:
            self._known.pop(id_, None)
            return None
        row = rows[0]
        session = Session(
            id=id_,
            principal=owner,
            version=row["version"],
            capabilities=frozenset(orjson.loads(row["client"])),
            log_level=row["log_level"],
            subscriptions=frozenset(row["subscriptions"]),
            loaded=asked,
        )
        if epoch == self._epoch:  # else it changed while it was being read
            self._known[id_] = session
            self._known.move_to_end(id_)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return session
