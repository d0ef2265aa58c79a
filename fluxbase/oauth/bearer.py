"""Turns an access token into a caller, as long as what was granted holds; it must not know HTTP.

A grant read from the database is trusted for a few seconds; an announcement of its end drops it at
once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.auth.authenticate import hoisted
from fluxbase.db.single_flight import SingleFlight
from fluxbase.errors import Unauthenticated
from fluxbase.principal import ALL_SCOPES, Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.database import Database
    from fluxbase.oauth.tokens import AccessTokens

_KEPT: Final = 10_000
_TOUCH: Final = 60.0


class _Grant(NamedTuple):
    row: Mapping[str, Any] | None
    loaded: float


class Bearers:
    """Recognizes the tokens of our own authorization server."""

    def __init__(self, database: Database, tokens: AccessTokens, *, live: float) -> None:
        self._database = database
        self.tokens = tokens
        self._live = live
        self._known: OrderedDict[str, _Grant] = OrderedDict()
        self._touched: dict[str, float] = {}
        self._epoch = 0
        self._flights: SingleFlight[_Grant] = SingleFlight()

    def forget(self, _what: str = "") -> None:
        """Drop what is remembered; what ended may be a user with many grants."""
        self._epoch += 1
        self._known.clear()

    async def recognize(self, token: str) -> Principal | None:
        """Return the holder of a token; `None` when the token is not one of ours.

        Raises:
            Unauthenticated: it is one of ours and not valid, or what was granted ended.
        """
        if not self.tokens.is_ours(token):
            return None
        claims = self.tokens.verify(token)
        grant = (await self._grant(str(claims.get("grant_id")))).row
        if grant is None or grant["user_id"] != claims["sub"]:
            raise Unauthenticated
        scopes = frozenset(granted(str(claims["scope"]).split(), grant["user_scopes"]))
        await self._touch(grant["id"])
        role = str(grant["role"])
        said = {**claims, "email": grant["email"], "role": role}
        return Principal(
            kind="user",
            id=f"user:{claims['sub']}",
            name=grant["email"],
            role=role,
            claims=orjson.dumps(said).decode(),
            scopes=scopes,
            user_id=str(claims["sub"]),
            client_id=str(claims["client_id"]),
            settings=hoisted(list(grant["settings"])),
        )

    async def _grant(self, id_: str) -> _Grant:
        known = self._known.get(id_)
        if known is not None and time.monotonic() - known.loaded <= self._live:
            return known
        return await self._flights.ask((id_, self._epoch), partial(self._load, id_))

    async def _load(self, id_: str) -> _Grant:
        epoch, asked = self._epoch, time.monotonic()
        rows = await self._database.admin("find_grant", id=id_)
        grant = _Grant(dict(rows[0]) if rows else None, asked)
        if epoch == self._epoch:
            self._known[id_] = grant
            self._known.move_to_end(id_)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return grant

    async def _touch(self, id_: str) -> None:
        now = time.monotonic()
        if now - self._touched.get(id_, -_TOUCH) >= _TOUCH:
            self._touched[id_] = now
            if len(self._touched) > _KEPT:
                self._touched.clear()
            await self._database.admin("touch_grant", id=id_)


def granted(asked: list[str], may: list[str]) -> tuple[str, ...]:
    """Return what of the scopes asked for a user may grant, each once and in order."""
    every = ALL_SCOPES in may
    return tuple(sorted({s for s in asked if (every or s in may) and s != ALL_SCOPES}))
