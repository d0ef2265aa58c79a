"""Browsers that are logged in, and proof that a form came from a page of ours; knows no HTTP."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fluxbase.oauth.users import User

if TYPE_CHECKING:
    from fluxbase.auth.pepper import Peppers
    from fluxbase.db.database import Database

LIFE: Final = 12 * 3600
_LONGEST: Final = 100


class Browsers:
    """Sessions of browsers; their cookies are kept as hashes."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self._database = database
        self._key = peppers.derive("form token")
        # Made-up cookies must not take the connections that everything else of the server needs.
        self._turns = asyncio.Semaphore(1)

    async def open(self, user_id: str) -> str:
        """Return the cookie of a browser that has just logged in."""
        cookie = secrets.token_urlsafe(32)
        await self._database.admin(
            "open_web_session", hash=_hash(cookie), user_id=user_id, seconds=LIFE
        )
        return cookie

    async def find(self, cookie: str | None) -> User | None:
        """Return who is logged in."""
        if not cookie or len(cookie) > _LONGEST:
            return None
        async with self._turns:
            rows = await self._database.admin("find_web_session", hash=_hash(cookie))
        if not rows:
            return None
        row = rows[0]
        return User(row["id"], row["email"], row["role"], tuple(row["scopes"]), row["is_admin"])

    async def close(self, cookie: str) -> None:
        """Forget a browser."""
        await self._database.admin("close_web_session", hash=_hash(cookie))

    def form_token(self, cookie: str) -> str:
        """Return what a form of this browser's carries; no other page can know it."""
        return hmac.new(self._key, cookie.encode(), "sha256").hexdigest()

    def is_form_token(self, cookie: str | None, token: str) -> bool:
        """Return whether a form came from a page that was shown to this browser."""
        if not cookie or not token.isascii():
            return False
        return hmac.compare_digest(self.form_token(cookie), token)


def _hash(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()
