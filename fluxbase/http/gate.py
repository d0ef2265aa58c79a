"""Who is at the door and may they come in: credential, then rate limit; knows no method."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from fluxbase.auth.credential import find
from fluxbase.errors import FluxbaseError, InsufficientScope, RateLimited, Unauthenticated
from fluxbase.http.head import Headers, once

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.auth.credential import Credential
    from fluxbase.limits.rate import Quota, RateLimiter
    from fluxbase.principal import Principal

_REALM: Final = 'Bearer realm="fluxbase"'


class Verifies(Protocol):
    """Turns a credential into a caller; `fluxbase.auth.authenticate.Authenticator` does."""

    async def authenticate(self, credential: Credential, remote: str | None) -> Principal:
        """Return the caller, or raise `Unauthenticated`."""
        ...

    def recall(self, credential: Credential, remote: str | None) -> Principal | None:
        """Return the caller where that is known without asking anybody."""
        ...

    async def current(self, who: Principal) -> Principal:
        """Return the caller as it is now, or raise `Unauthenticated`."""
        ...


class Records(Protocol):
    """Keeps refused credentials; `fluxbase.db.audit_log.AuditLog` does."""

    async def refuse_stranger(self, code: str, request_id: str, remote: str | None) -> None:
        """Write one record."""
        ...


class Login(NamedTuple):
    """Where an assistant learns how its user logs in, and what it is to ask for."""

    metadata: str
    scopes: tuple[str, ...]


class Gate:
    """Credential → rate limit, the same for every route that needs a caller."""

    def __init__(
        self,
        verifier: Verifies,
        limiter: RateLimiter,
        records: Records,
        login: Login | None = None,
    ) -> None:
        self._login = login
        self._verifier = verifier
        self._limiter = limiter
        self._records = records

    async def admit(
        self, headers: Headers, remote: str | None, request_id: str
    ) -> tuple[Principal, Quota]:
        """Return the caller behind the headers, counted once, and what is left of its calls.

        Raises:
            Unauthenticated: there is no valid credential.
            RateLimited: the caller's calls are used up, or an address was refused too often.
            Unavailable: the database is needed to know the key, and does not answer.
        """
        try:
            credential = once(headers, find)
            who = self._verifier.recall(credential, remote)
            if who is None:
                who = await self._verifier.authenticate(credential, remote)
        except Unauthenticated as error:
            # Refusals are counted by address, and only refusals: a valid key never meets this.
            await self._limiter.count_failure(remote or "unknown")
            await self._records.refuse_stranger(error.code, request_id, remote)
            raise
        return who, await self._limiter.count(who.id, who.rate_limit)

    async def recognize(self, headers: Headers, remote: str | None) -> Principal:
        """Return the caller of a stream that is open, as it is now; that is no further call.

        Raises:
            Unauthenticated: its credential is not valid any more.
            Unavailable: the database is needed to know, and does not answer.
        """
        return await self._verifier.authenticate(once(headers, find), remote)

    async def current(self, who: Principal) -> Principal:
        """Return somebody who was here before, as it is now.

        Raises:
            Unauthenticated: its key is not valid any more.
            Unavailable: the database is needed to know, and does not answer.
        """
        return await self._verifier.current(who)

    async def charge(self, who: Principal, counted: str | None = None) -> Quota:
        """Count one more call of a caller, or of what is counted in its place.

        Raises:
            RateLimited: none is left.
        """
        return await self._limiter.count(counted or who.id, who.rate_limit)

    def refusal_headers(
        self, error: FluxbaseError, sent: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Return the headers that a refused request's answer needs."""
        headers = _limit_headers(error)
        if isinstance(error, Unauthenticated):
            bearer = any(
                name == b"authorization" and value[:7].lower() == b"bearer " for name, value in sent
            )
            headers.append(self._challenge("invalid_token" if bearer else None))
        if isinstance(error, InsufficientScope):
            headers.append(self.scope_challenge(error.scopes))
        return headers

    def scope_challenge(self, scopes: tuple[str, ...]) -> tuple[bytes, bytes]:
        """Return what tells an assistant to ask its user for more; RFC 6750, 3.1."""
        return self._challenge("insufficient_scope", scopes)

    def _challenge(
        self, error: str | None, scopes: tuple[str, ...] | None = None
    ) -> tuple[bytes, bytes]:
        """Return the challenge; RFC 9728, 5.1, says where to log in."""
        parts = [_REALM]
        if error is not None and self._login is not None:
            parts.append(f'error="{error}"')
        if self._login is not None:
            wanted = self._login.scopes if scopes is None else scopes
            parts += [f'resource_metadata="{self._login.metadata}"', f'scope="{" ".join(wanted)}"']
        return (b"www-authenticate", ", ".join(parts).encode())


def quota_headers(quota: Quota) -> list[tuple[bytes, bytes]]:
    """Return `RateLimit-Policy` and `RateLimit`.

    Source: draft-ietf-httpapi-ratelimit-headers.
    """
    return [
        _policy(quota.limit),
        (b"ratelimit", f'"default";r={quota.remaining};t={quota.reset}'.encode()),
    ]


@lru_cache(maxsize=64)
def _policy(limit: int) -> tuple[bytes, bytes]:
    return (b"ratelimit-policy", b'"default";q=%d;w=60' % limit)


def _limit_headers(error: FluxbaseError) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if isinstance(error, RateLimited) and error.retry_after is not None:
        headers.append((b"ratelimit", b'"default";r=0;t=%d' % error.retry_after))
        if error.limit is not None:
            headers.append(_policy(error.limit))
    return headers
