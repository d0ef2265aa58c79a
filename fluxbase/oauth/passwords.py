"""Hashes passwords and verifies them, without holding up anything else; it knows no user.

Argon2id is slow and hungry on purpose, so only a few run at a time, beside the loop. An unknown
user costs what a known one costs.
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from fluxbase.errors import InvalidArgument, Unavailable

SHORTEST: Final = 10
LONGEST: Final = 256
_AT_ONCE: Final = 2
_MOST_WAITING: Final = 32
# Of a password that nobody knows; compared with when there is no such user.
NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$YWFhYWFhYWFhYWFhYWFhYQ$"
    "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
)


class Passwords:
    """One hasher for the whole server."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Return what is kept in place of a password.

        Raises:
            InvalidArgument: it is too short or too long.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise InvalidArgument(f"a password has {SHORTEST} to {LONGEST} characters")
        return await asyncio.to_thread(self._hasher.hash, _spelled(password))

    async def matches(self, kept: str | None, password: str) -> bool:
        """Return whether this is the password; `None` stands for a user that does not exist.

        Raises:
            Unavailable: too many others wait already.
        """
        if len(password) > LONGEST:
            return False
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("too many are logging in", retry_after=5)
        self._waiting += 1
        try:
            async with self._turns:
                word = _spelled(password)
                good = await asyncio.to_thread(self._verify, kept or NOBODY, word)
        finally:
            self._waiting -= 1
        return good and kept is not None

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            return False


def _spelled(password: str) -> str:
    """Return a password in one spelling: keyboards write the same letter in different ways.

    Source: RFC 8265, 4.2.
    """
    return unicodedata.normalize("NFC", password)
