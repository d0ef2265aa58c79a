"""A connection and whom it is set to; it must not know who has it, nor what is asked on it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from fluxbase.db.sql import Sql, concat, dollar_quoted, sql

if TYPE_CHECKING:
    from fluxbase.db.line import Line
    from fluxbase.principal import Principal

# DISCARD ALL would also drop the prepared statements, and RESET ALL leaves the role alone.
RESET: Final = sql(
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SELECT pg_advisory_unlock_all(); "
    "CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; "
)


class Identity(NamedTuple):
    """What a connection is set to: the role, its claims, and the settings its role carries."""

    role: str
    claims: str
    settings: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(who: Principal) -> Identity:
        """Return the identity of a caller."""
        return Identity(who.role, who.claims, who.settings)

    def switch(self) -> Sql:
        """Return SQL that resets the session entirely and then becomes this identity."""
        # The tag is random: no claim can end the literal, whatever the session's settings are.
        tag = "q" + secrets.token_hex(8)
        values = (("request.jwt.claims", self.claims), *self.settings)
        sets = [
            concat(
                sql("set_config("),
                dollar_quoted(name, tag),
                sql(", "),
                dollar_quoted(value, tag),
                sql(", false), "),
            )
            for name, value in values
        ]
        become = concat(sql("set_config('role', "), dollar_quoted(self.role, tag), sql(", false)"))
        return concat(RESET, sql("SELECT "), *sets, become)


@dataclass(slots=True, eq=False)
class Held:
    """One connection with the identity it is set to (`None`: the bare login)."""

    raw: Line
    identity: Identity | None = None
    born: float = field(default_factory=time.monotonic)
    used: bool = False

    def is_spoiled(self, error: BaseException) -> bool:
        """Return whether a time limit that somebody left here ended the words that reset it.

        It holds until the words that lift it. Another connection has none.
        """
        return self.used and isinstance(error, asyncpg.QueryCanceledError)
