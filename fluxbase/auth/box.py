"""Seals texts that have to be read again, under a key from the peppers; it must not keep any.

AES-256-GCM with a random nonce. The place of a text (whose it is and what it is called) is
authenticated with it, so that what was copied to another place does not open.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from fluxbase.auth.pepper import Peppers

_NONCE: Final = 12


class Sealed(NamedTuple):
    """A sealed text, and the version of the pepper that it was sealed under."""

    pepper: str
    nonce: bytes
    sealed: bytes


class Box:
    """Seals with the current pepper, and opens with every one that is in the ring."""

    def __init__(self, peppers: Peppers, purpose: str) -> None:
        self._peppers = peppers
        self._purpose = purpose

    def seal(self, text: str, *place: str) -> Sealed:
        """Return a text sealed for a place."""
        nonce = os.urandom(_NONCE)
        sealed = self._key(self._peppers.current).encrypt(nonce, text.encode(), self._name(place))
        return Sealed(self._peppers.current, nonce, sealed)

    def open(self, sealed: Sealed, *place: str) -> str:
        """Return the text that was sealed for this very place.

        Raises:
            ConfigError: its pepper is missing, or something of it was changed.
        """
        return self._opened(sealed, place)[1]

    def renewed(self, sealed: Sealed, *place: str) -> Sealed | None:
        """Return a text sealed under the current pepper, or nothing when it is that already.

        Raises:
            ConfigError: its pepper is missing, or something of it was changed.
        """
        version, text = self._opened(sealed, place)
        current = self._peppers.current
        return None if version == sealed.pepper == current else self.seal(text, *place)

    def _opened(self, sealed: Sealed, place: tuple[str, ...]) -> tuple[str, str]:
        """Return what a text was sealed under, and the text."""
        # The named one first; but a pepper may have got another name, or its name another pepper.
        for version in sorted(self._peppers.ring, key=lambda known: known != sealed.pepper):
            try:
                text = self._key(version).decrypt(sealed.nonce, sealed.sealed, self._name(place))
            except InvalidTag:
                continue
            return version, text.decode()
        raise ConfigError(
            "something sealed cannot be opened: its pepper is missing, or its row was changed",
            hint="put the old pepper into auth.peppers again, behind the current one",
        )

    def _key(self, version: str) -> AESGCM:
        return AESGCM(self._peppers.derive(self._purpose, version))

    def _name(self, place: tuple[str, ...]) -> bytes:
        # Lengths, so that no two places are written alike.
        parts = [f"{len(part)}:{part}" for part in (self._purpose, *place)]
        return b"fluxbase " + ",".join(parts).encode()
