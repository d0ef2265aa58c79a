"""Codes and refresh tokens: given once, used once, and ended together; it must not know pages.

Sources: OAuth 2.1 4.1.3, 4.3; RFC 7009; RFC 7662; RFC 9700 2.2.2 and 4.14.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.db.audit import entry
from fluxbase.errors import Unauthenticated
from fluxbase.oauth import redirects
from fluxbase.oauth.errors import OAuthError, invalid_grant
from fluxbase.oauth.requests import is_resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.database import Database
    from fluxbase.oauth.clients import Client
    from fluxbase.oauth.requests import Authorization
    from fluxbase.oauth.tokens import AccessTokens

CODE_LIFE: Final = 60
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Grants:
    """What users granted to clients."""

    def __init__(
        self, database: Database, tokens: AccessTokens, audit_key: bytes, refresh_life: float
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._audit_key = audit_key
        self._refresh_life = refresh_life

    async def grant(self, user: str, asked: Authorization, scopes: tuple[str, ...]) -> str:
        """Keep a user's yes and return the code for the client."""
        code = secrets.token_urlsafe(32)
        client = asked.client
        rows = await self._database.admin(
            "add_grant",
            user_id=user,
            client_id=client.id,
            client_name=client.name,
            client_host=client.host or redirects.host(asked.redirect_uri),
            scopes=list(scopes),
            resource=asked.resource,
            code_hash=_hash(code),
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            seconds=CODE_LIFE,
        )
        await self.record("oauth/grant", user, rows[0]["grant_id"])
        return code

    async def redeem(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the tokens for a code; a code that comes again ends all that came of it.

        Raises:
            OAuthError: the code is not valid, or not this client's, or the proof is wrong.
        """
        code = _hash(form.get("code", ""))
        rows = await self._database.admin("claim_code", hash=code)
        if not rows:
            ended = await self._database.admin("end_family_of_code", hash=code)
            if ended:
                await self.record("oauth/replay", None, ended[0]["id"], outcome="denied")
            raise invalid_grant()
        row = dict(rows[0])
        good = (
            row["client_id"] == client.id
            and form.get("redirect_uri", row["redirect_uri"]) == row["redirect_uri"]
            and _proves(form.get("code_verifier", ""), row["challenge"])
        )
        if not good:
            await self.end(row["grant_id"], None, "its code was misused")
            raise invalid_grant()
        _check_resource(form, row["resource"])
        return await self._issue(row, tuple(row["scopes"]))

    async def refresh(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        """Return new tokens for a refresh token, which is used up by that.

        Raises:
            OAuthError: it is not valid or not this client's, or more is asked than it is good for.
        """
        token = _hash(form.get("refresh_token", ""))
        known = await self._database.admin("find_refresh_token", hash=token)
        # Asked for too much: nothing is used up by that.
        if known and known[0]["client_id"] == client.id:
            _check_resource(form, known[0]["resource"])
            _narrowed(form, known[0]["scopes"])
        rows = await self._database.admin("claim_refresh_token", hash=token)
        if not rows:
            ended = await self._database.admin("end_family_of_refresh_token", hash=token)
            if ended:
                await self.record("oauth/replay", None, ended[0]["id"], outcome="denied")
            raise invalid_grant()
        row = dict(rows[0])
        if row["client_id"] != client.id:
            await self.end(row["grant_id"], None, "a refresh token was misused")
            raise invalid_grant()
        return await self._issue(row, _narrowed(form, row["scopes"]), tuple(row["scopes"]))

    async def revoke(self, client: Client, token: str) -> None:
        """End what a token of the client's came of; other tokens are none of its business."""
        grant = await self._grant_of(token)
        if grant is not None and grant["client_id"] == client.id:
            await self.end(grant["grant_id"], None, "the client gave it back")

    async def introspect(self, token: str, client_id: str | None) -> dict[str, Any]:
        """Return what a token is good for; `client_id` of `None` may ask about anybody's."""
        try:
            claims = dict(self._tokens.verify(token))
        except Unauthenticated:
            return await self._introspect_refresh(token, client_id)
        rows = await self._database.admin("find_grant", id=claims.get("grant_id"))
        if not rows or client_id not in (None, claims["client_id"]):
            return {"active": False}
        told = ("iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti")
        found = {name: claims[name] for name in told}
        return {"active": True, "token_type": "Bearer", "username": rows[0]["email"], **found}

    async def list(self, user: str) -> list[dict[str, Any]]:
        """Return what a user granted and did not take back."""
        return [dict(row) for row in await self._database.admin("list_grants", user_id=user)]

    async def end(self, grant: str, user: str | None, because: str) -> bool:
        """End a grant, of this user's when one is named; return whether there was one."""
        rows = await self._database.admin("revoke_grant", id=grant, user_id=user, because=because)
        if rows:
            await self.record("oauth/revoke", user, grant)
        return bool(rows)

    async def record(
        self, action: str, user: str | None, target: str | None, outcome: Any = "ok"
    ) -> None:
        """Note in the audit what was done."""
        who = None if user is None else f"user:{user}"
        kind = None if user is None else "user"
        record = entry(action, key=self._audit_key, target=target)
        row = record._replace(principal=who, kind=kind).as_row(outcome)
        await self._database.admin("add_audit", entries=orjson.dumps([row]).decode())

    async def prune(self) -> None:
        """Delete what nobody can use any more."""
        await self._database.admin("prune_oauth")

    async def _issue(
        self, row: Mapping[str, Any], scopes: tuple[str, ...], kept: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        refresh = secrets.token_urlsafe(32)
        await self._database.admin(
            "add_refresh_token",
            hash=_hash(refresh),
            grant_id=row["grant_id"],
            scopes=list(kept or scopes),
            seconds=self._refresh_life,
        )
        token, seconds = self._tokens.issue(
            grant=row["grant_id"], user=row["user_id"], client=row["client_id"], scopes=scopes
        )
        await self.record("oauth/token", row["user_id"], row["grant_id"])
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": seconds,
            "refresh_token": refresh,
            "scope": " ".join(scopes),
        }

    async def _grant_of(self, token: str) -> Mapping[str, Any] | None:
        try:
            claims = self._tokens.verify(token)
        except Unauthenticated:
            rows = await self._database.admin("find_refresh_token", hash=_hash(token))
            return dict(rows[0]) if rows else None
        return {"grant_id": claims["grant_id"], "client_id": claims["client_id"]}

    async def _introspect_refresh(self, token: str, client_id: str | None) -> dict[str, Any]:
        rows = await self._database.admin("find_refresh_token", hash=_hash(token))
        if not rows or client_id not in (None, rows[0]["client_id"]):
            return {"active": False}
        row = rows[0]
        return {
            "active": True,
            "client_id": row["client_id"],
            "sub": row["user_id"],
            "scope": " ".join(row["scopes"]),
            "exp": int(row["expires_at"].timestamp()),
        }


def _hash(text: str) -> bytes:
    """Return what is kept in place of a random text; 256 bits cannot be guessed from it."""
    return sha256(text.encode()).digest()


def _proves(verifier: str, challenge: str) -> bool:
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = base64.urlsafe_b64encode(_hash(verifier)).decode().rstrip("=")
    return hmac.compare_digest(digest, challenge)


def _check_resource(form: Mapping[str, str], resource: str) -> None:
    if not is_resource(form.get("resource"), resource):
        raise OAuthError("invalid_target", "the token is for the resource that was granted")


def _narrowed(form: Mapping[str, str], scopes: list[str]) -> tuple[str, ...]:
    asked = form.get("scope", "").split()
    if not set(asked) - {"offline_access"}:
        return tuple(scopes)
    if not set(asked) - {"offline_access"} <= set(scopes):
        raise OAuthError("invalid_scope", "a refresh token cannot be used for more scopes")
    return tuple(sorted(set(asked) & set(scopes)))
