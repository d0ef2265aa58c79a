"""Turns an access token into a caller, as long as what was granted holds; it must not know HTTP.

A grant read from the database is trusted for a few seconds; an announcement of its end drops it at
once. A signature is verified once: its token can only run out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.auth.authenticate import hoisted
from fluxbase.db.single_flight import SingleFlight
from fluxbase.errors import FluxbaseError, Unauthenticated
from fluxbase.principal import ALL_SCOPES, Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.database import Database
    from fluxbase.oauth.tokens import AccessTokens

_KEPT: Final = 10_000


class _Grant(NamedTuple):
    row: Mapping[str, Any] | None
    loaded: float


class _Held(NamedTuple):
    claims: Mapping[str, Any]
    grant: _Grant
    holder: Principal


class Bearers:
    """Recognizes the tokens of our own authorization server."""

    def __init__(self, database: Database, tokens: AccessTokens, *, live: float) -> None:
        self._database = database
        self.tokens = tokens
        self._live = live
        self._known: OrderedDict[str, _Grant] = OrderedDict()
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._uses: set[str] = set()
        self._epoch = 0
        self._flights: SingleFlight[_Grant] = SingleFlight()

    def forget(self) -> None:
        """Ask the database again for every grant."""
        self._epoch += 1
        self._known.clear()

    async def recognize(self, token: str) -> Principal | None:
        """Return the holder of a token; `None` when the token is not one of ours.

        Raises:
            Unauthenticated: it is one of ours and not valid, or what was granted ended.
        """
        digest = sha256(token.encode()).digest()
        held = self._held.get(digest)
        if held is None or held.claims["exp"] <= time.time():
            if not self.tokens.is_ours(token):
                return None
            held = None
            claims = self.tokens.verify(token)
        else:
            claims = held.claims
        grant = await self._grant(str(claims.get("grant_id")))
        if held is None or held.grant is not grant:
            held = self._hold(digest, claims, grant, held)
        self._uses.add(str(claims["grant_id"]))
        return held.holder

    async def flush_uses(self) -> None:
        """Write down which grants were used."""
        uses, self._uses = self._uses, set()
        if uses:
            try:
                await self._database.admin("touch_grants", ids=sorted(uses))
            except FluxbaseError:
                self._uses |= uses
                raise

    def _hold(
        self, digest: bytes, claims: Mapping[str, Any], grant: _Grant, before: _Held | None
    ) -> _Held:
        """Keep who holds a token under a grant, or raise `Unauthenticated`."""
        if grant.row is None or grant.row["user_id"] != claims["sub"]:
            self._held.pop(digest, None)
            raise Unauthenticated
        holder = _holder(claims, grant.row)
        if before is not None and before.holder == holder:
            holder = before.holder  # keeps what is cached by identity
        held = self._held[digest] = _Held(claims, grant, holder)
        self._held.move_to_end(digest)
        if len(self._held) > _KEPT:
            self._held.popitem(last=False)
        return held

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


def _holder(claims: Mapping[str, Any], grant: Mapping[str, Any]) -> Principal:
    role = str(grant["role"])
    said = {**claims, "email": grant["email"], "role": role}
    return Principal(
        kind="user",
        id=f"user:{claims['sub']}",
        name=grant["email"],
        role=role,
        claims=orjson.dumps(said).decode(),
        scopes=frozenset(granted(str(claims["scope"]).split(), grant["user_scopes"])),
        user_id=str(claims["sub"]),
        client_id=str(claims["client_id"]),
        settings=hoisted(list(grant["settings"])),
    )


def granted(asked: list[str], may: list[str]) -> tuple[str, ...]:
    """Return what of the scopes asked for a user may grant, each once and in order."""
    every = ALL_SCOPES in may
    return tuple(sorted({s for s in asked if (every or s in may) and s != ALL_SCOPES}))
