"""Counts what is sent to the embedding model in a day; it must not know what is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fluxbase.egress.embed import ModelAway

if TYPE_CHECKING:
    from fluxbase.db.database import Database


class DayPurse:
    """So many tokens a day, for all servers of one database; `fluxbase.egress.embed.Purse`."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most

    async def check(self) -> None:
        """Let a request go that begins below the limit.

        Raises:
            ModelAway: today's tokens are used up.
        """
        [row] = await self._database.admin("spent_tokens")
        if row["tokens"] >= self._most:
            raise ModelAway(
                "today's tokens for embeddings are used up",
                hint="hybrid: true goes on by words; max_tokens_per_day is the limit",
                retry_after=_until_midnight(),
            )

    async def spend(self, tokens: int) -> None:
        """Count what was sent."""
        await self._database.admin("spend_tokens", tokens=tokens)


def _until_midnight() -> int:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1, int((midnight - now).total_seconds()))
