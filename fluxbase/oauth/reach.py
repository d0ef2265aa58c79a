"""What a user's scopes reach, for the person who is asked; it must not know pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.principal import Principal

if TYPE_CHECKING:
    from fluxbase.db.database import Database
    from fluxbase.oauth.users import User

_TABLES: Final = frozenset({"read:tables", "write:tables", "read:schema"})


async def tables(database: Database, user: User, scopes: tuple[str, ...]) -> list[str]:
    """Return the tables that a holder of these scopes would see as the user."""
    if not _TABLES.intersection(scopes):
        return []
    who = Principal(
        "user", f"user:{user.id}", user.email, user.role, "{}", frozenset(scopes), user.id
    )
    seen = await database.catalog.visible(who)
    return sorted(table.relation.full_name for table in seen.values())
