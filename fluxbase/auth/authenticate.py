"""Turns a credential into a principal; it must not know what the principal wants.

A key read from the database is trusted for a few seconds; an announcement of a change drops it at
once. Every refusal looks the same, whether the key is malformed, unknown, wrong or over.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hmac import compare_digest
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

from fluxbase.auth import token
from fluxbase.db.single_flight import SingleFlight
from fluxbase.errors import FluxbaseError, Unauthenticated
from fluxbase.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.auth.credential import Credential
    from fluxbase.auth.jwt import Verifier
    from fluxbase.auth.pepper import Peppers
    from fluxbase.config.model import Jwt as JwtConfig
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record

_KEYS_KEPT: Final = 50_000
# What a role may carry over to its callers; anything else of a role stays its own.
HOISTED: Final = frozenset(
    {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem"}
)


class _Proof(NamedTuple):
    """What a credential was that proved to hold a key, and how long that may be taken for true.

    A plain hash will do: 190 random bits cannot be guessed from it, and it never leaves the memory.
    """

    source: str
    digest: bytes
    until: float  # by the wall clock; a change of the key itself drops the key and this with it


@dataclass(slots=True)
class _Known:
    """A key as it was read, and what was found about it."""

    principal: Principal
    macs: tuple[tuple[str, bytes, datetime | None], ...]
    expires_at: datetime | None
    revoked: bool
    networks: tuple[IPv4Network | IPv6Network, ...]
    loaded: float
    proof: _Proof | None = None


class Bearers(Protocol):
    """Knows tokens of another kind; `fluxbase.oauth.bearer.Bearers` does."""

    async def recognize(self, token: str) -> Principal | None:
        """Return the holder of a token; `None` when it is not one of those.

        Raises:
            Unauthenticated: it is one of those, and not valid.
        """
        ...


class Authenticator:
    """Verifies keys and tokens."""

    def __init__(
        self,
        database: Database,
        peppers: Peppers,
        *,
        live: float,
        jwt: JwtConfig,
        verifier: Verifier | None,
    ) -> None:
        self._database = database
        self._peppers = peppers
        self._live = live
        self._jwt = jwt
        self._verifier = verifier
        self.bearers: Bearers | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._roles: dict[str, tuple[tuple[str, str], ...]] = {}
        self._uses: dict[str, tuple[float, str | None]] = {}
        self._epoch = 0
        self._flights: SingleFlight[_Known | None] = SingleFlight()
        # Made-up ids must not take the connections that everything else of the server needs.
        self._strangers = asyncio.Semaphore(1)

    def configure(self, live: float, jwt: JwtConfig, verifier: Verifier | None) -> None:
        """Change how long keys are trusted and which tokens are."""
        self._live = live
        self._jwt = jwt
        self._verifier = verifier

    def forget(self, key: str = "") -> None:
        """Drop what is remembered of one key, or of all when its id is empty."""
        self._epoch += 1
        self._roles.clear()
        if key:
            self._known.pop(key, None)
        else:
            self._known.clear()

    async def authenticate(self, credential: Credential, remote: str | None) -> Principal:
        """Return who holds the credential.

        Args:
            credential: what was sent.
            remote: the address it came from, for keys that are bound to networks.

        Raises:
            Unauthenticated: it is not valid; the message never says why.
            Unavailable: the database is needed and does not answer.
        """
        return self.recall(credential, remote) or await self._prove(credential, remote)

    async def current(self, who: Principal) -> Principal:
        """Return the holder of a key, as it is now, without its secret; users pass as they are.

        Raises:
            Unauthenticated: the key was revoked, has expired or was deleted.
            Unavailable: the database is needed and does not answer.
        """
        if who.kind == "user":
            return who
        known = self._known.get(who.id)
        if known is None or time.monotonic() - known.loaded > self._live:
            known = await self._ask(who.id)
        if known is None or known.revoked:
            raise Unauthenticated
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            raise Unauthenticated
        return known.principal

    def recall(self, credential: Credential, remote: str | None) -> Principal | None:
        """Return who held this very credential a moment ago, if that still has to be true."""
        known = self._known.get(token.id_in(credential.text))
        proof = known.proof if known is not None else None
        if known is None or proof is None or time.monotonic() - known.loaded > self._live:
            return None
        now = time.time()
        if now >= proof.until or proof.source != credential.source:
            return None
        if not compare_digest(proof.digest, credential.digest):
            return None
        self._uses[known.principal.id] = (now, remote)
        return known.principal

    async def _prove(self, credential: Credential, remote: str | None) -> Principal:
        parsed = token.parse(credential.text)
        if parsed is None:
            if credential.source == "bearer" and credential.text.count(".") == 2:
                return await self._from_jwt(credential.text)
            raise Unauthenticated
        if credential.source != "bearer" and credential.source != _HEADER_OF[parsed.kind]:
            raise Unauthenticated
        known = self._known.get(parsed.id)
        fresh = known is None or time.monotonic() - known.loaded > self._live
        if fresh:
            known = await self._ask(parsed.id)
        try:
            self._verify(parsed, known, remote)
        except Unauthenticated:
            if fresh:
                raise
            # It may have been rotated this moment, ahead of the announcement. So a wrong secret
            # costs what an unknown id costs, and neither tells the other apart.
            self._known.pop(parsed.id, None)
            known = await self._ask(parsed.id)
            self._verify(parsed, known, remote)
        if known is None:
            raise Unauthenticated
        self._uses[parsed.id] = (time.time(), remote)
        known.proof = _proof(credential, known)
        return known.principal

    async def flush_uses(self) -> None:
        """Write down when keys were used last."""
        uses, self._uses = self._uses, {}
        if uses:
            rows = [
                {"id": key, "at": datetime.fromtimestamp(at, UTC), "remote": remote}
                for key, (at, remote) in uses.items()
            ]
            try:
                await self._database.admin("touch_keys", uses=orjson.dumps(rows).decode())
            except FluxbaseError:
                self._uses = {**uses, **self._uses}
                raise

    def _verify(self, parsed: token.Token, known: _Known | None, remote: str | None) -> None:
        now = datetime.now(UTC)
        good = False
        # An unknown key costs the same HMAC as a known one.
        macs = known.macs if known else ((self._peppers.current, None, None),)
        for pepper, mac, until in macs:
            secret = self._peppers.ring.get(pepper)
            if secret is not None and (until is None or now < until):
                good |= token.matches(secret, parsed, mac)
        if not good or known is None or known.principal.kind != parsed.kind:
            raise Unauthenticated
        if known.revoked or (known.expires_at is not None and known.expires_at <= now):
            raise Unauthenticated
        if known.networks and not _inside(remote, known.networks):
            raise Unauthenticated

    async def _ask(self, key: str) -> _Known | None:
        return await self._flights.ask((key, self._epoch), partial(self._load, key))

    async def _load(self, key: str) -> _Known | None:
        epoch, asked = self._epoch, time.monotonic()
        if key in self._known:
            rows = await self._database.admin("find_key", id=key)
        else:
            async with self._strangers:
                rows = await self._database.admin("find_key", id=key)
        if not rows:
            self._known.pop(key, None)
            return None
        known = _known(rows[0], asked)
        if epoch == self._epoch:  # else it changed while it was being read
            before = self._known.get(key)
            if before is not None and before.principal == known.principal:
                known.principal = before.principal  # keeps what is cached by identity
            self._known[key] = known
            self._known.move_to_end(key)
            if len(self._known) > _KEYS_KEPT:
                self._known.popitem(last=False)
        return known

    async def _from_jwt(self, text: str) -> Principal:
        if self.bearers is not None:
            holder = await self.bearers.recognize(text)
            if holder is not None:
                return holder
        if self._verifier is None:
            raise Unauthenticated
        claims = self._verifier.verify(text)
        named = claims.get(self._jwt.role_claim)
        role = self._jwt.role_map.get(named) if isinstance(named, str) else None
        if role is None:
            raise Unauthenticated
        subject = str(claims["sub"])
        return Principal(
            kind="user",
            id=f"user:{subject}",
            name=subject,
            role=role,
            claims=orjson.dumps({**claims, "role": role}).decode(),
            scopes=frozenset(self._jwt.scopes),
            user_id=subject,
            settings=await self._settings(role),
        )

    async def _settings(self, role: str) -> tuple[tuple[str, str], ...]:
        if role not in self._roles:
            rows = await self._database.admin("role_settings", role=role)
            self._roles[role] = hoisted(rows[0]["settings"]) if rows else ()
        return self._roles[role]


def _proof(credential: Credential, known: _Known) -> _Proof | None:
    """Return what spares the next call the verification that this one has just gone through."""
    if known.networks:  # then the address has to be looked at each time
        return None
    now = datetime.now(UTC)
    ends = (known.expires_at, *(until for _, _, until in known.macs))
    until = min((end.timestamp() for end in ends if end is not None and end > now), default=inf)
    return _Proof(credential.source, credential.digest, until)


_HEADER_OF: Final = {"client_key": "x-client-key", "service_key": "x-service-key"}


def _known(row: Record, asked: float) -> _Known:
    macs: list[tuple[str, bytes, datetime | None]] = [(row["pepper"], row["mac"], None)]
    if row["previous_mac"] and row["previous_until"]:
        macs.append((row["previous_pepper"], row["previous_mac"], row["previous_until"]))
    return _Known(
        principal=_principal(row),
        macs=tuple(macs),
        expires_at=row["expires_at"],
        revoked=row["revoked_at"] is not None,
        networks=tuple(ip_network(text) for text in row["cidrs"]),
        loaded=asked,
    )


def _principal(row: Record) -> Principal:
    user_id = str(row["user_id"]) if row["user_id"] else None
    claims: Mapping[str, Any] = {
        **orjson.loads(row["claims_text"]),
        **({"sub": user_id} if user_id else {}),
        **({"app_id": row["app_id"]} if row["app_id"] else {}),
        "role": row["base_role"],
        "client_key_id" if row["kind"] == "client_key" else "service_key_id": row["id"],
    }
    return Principal(
        kind=row["kind"],
        id=row["id"],
        name=row["name"],
        role=row["role_name"] or row["base_role"],
        claims=orjson.dumps(claims).decode(),
        scopes=frozenset(row["scopes"]),
        user_id=user_id,
        app_id=row["app_id"],
        read_only=row["read_only"],
        max_rows=row["max_rows"],
        rate_limit=row["rate_limit"],
        untrusted_data=row["untrusted_data"],
        confirm=row["confirm"],
        allowed_tools=tuple(row["allowed_tools"]),
        allowed_resources=tuple(row["allowed_resources"]),
        allowed_schemas=tuple(row["allowed_schemas"]),
        allowed_tables=tuple(row["allowed_tables"]),
        settings=hoisted(row["settings"]),
    )


def hoisted(settings: list[str]) -> tuple[tuple[str, str], ...]:
    """Return what a role's settings carry over to its callers."""
    pairs = dict(text.split("=", 1) for text in settings)
    return tuple((name, value) for name, value in pairs.items() if name in HOISTED)


def _inside(remote: str | None, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    if remote is None:
        return False
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
