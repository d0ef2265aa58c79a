"""How many connections a configuration may come to open, and whether they fit; it opens none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.db.works import AT_ONCE

if TYPE_CHECKING:
    from fluxbase.config import Config
    from fluxbase.db.database import Database

# Each worker hears announcements on one and feels Postgres' pulse on another.
_BESIDE_POOLS: Final = 2
# For commands beside the server, a migration, and you.
_SPARE: Final = 10
_USUAL: Final = 100


@dataclass(frozen=True, slots=True)
class Capacity:
    """What all workers together may open, and what Postgres allows."""

    workers: int
    each: int
    allowed: int

    @property
    def fits(self) -> bool:
        """True when no call is refused because Postgres has no connection left."""
        return self.workers * self.each <= self.allowed

    @property
    def text(self) -> str:
        """Say it in words."""
        many = f"{self.workers} workers x {self.each}" if self.workers > 1 else "1 worker"
        return (
            f"{many} = at most {self.workers * self.each} connections; "
            f"Postgres allows {self.allowed}"
        )

    @property
    def fix(self) -> str:
        """Say what mends it."""
        return "lower database.client_pool_size or server.workers, or raise max_connections"


async def capacity(config: Config, database: Database) -> Capacity | None:
    """Return how the pools fit; `None` where a pooler stands between, which decides by itself.

    Raises:
        FluxbaseError: the database does not answer.
    """
    if config.database.pooler != "none":
        return None
    rows = await database.admin("connections_allowed")
    return Capacity(config.server.workers, _each(config), rows[0]["allowed"])


def embedded_settings(config: Config) -> dict[str, str]:
    """Return the settings of our own Postgres: it takes as many connections as we may open."""
    wanted = config.server.workers * _each(config) + _SPARE
    room = {"max_connections": str(wanted)} if wanted > _USUAL else {}
    return room | config.database.embedded.settings


def _each(config: Config) -> int:
    database = config.database
    pools = database.client_pool_size + database.service_pool_size + database.admin_pool_size
    return pools + AT_ONCE + _BESIDE_POOLS
