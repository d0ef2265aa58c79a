"""Applies and undoes migrations, the program's and the user's, as the owner of the database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fluxbase.db import migrate
from fluxbase.db.errors import CONNECTION_ERRORS, translate
from fluxbase.db.pool import connect
from fluxbase.db.prepare import ADMIN_SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.db.migrate import Migration, Status
    from fluxbase.db.types import Connection


async def up(owner_url: str, folder: Path, *, system: bool = False) -> list[Migration]:
    """Apply the pending migrations of a folder and return them; `system`: the program's first.

    Raises:
        MigrationError: one is malformed, was changed after it ran, or failed.
        Unavailable: the database cannot be reached.
    """
    users = migrate.read(folder)
    async with _owner(owner_url) as conn:
        ours = await migrate.up(conn, "system_migrations", migrate.system()) if system else []
        return ours + await migrate.up(conn, "user_migrations", users)


async def down(owner_url: str, folder: Path) -> Migration:
    """Undo the user's migration that was applied last, and return it.

    Raises:
        MigrationError: there is none, or it cannot be undone.
        Unavailable: the database cannot be reached.
    """
    async with _owner(owner_url) as conn:
        return await migrate.down(conn, "user_migrations", migrate.read(folder))


async def status(owner_url: str, folder: Path | None) -> list[Status]:
    """Return the state of every migration of a folder, or of the program's own (`None`).

    Raises:
        MigrationError: a file is malformed.
        Unavailable: the database cannot be reached.
    """
    async with _owner(owner_url) as conn:
        if folder is None:
            return await migrate.status(conn, "system_migrations", migrate.system())
        return await migrate.status(conn, "user_migrations", migrate.read(folder))


@asynccontextmanager
async def _owner(url: str) -> AsyncGenerator[Connection]:
    conn = await connect(url, settings=ADMIN_SETTINGS, seconds=10)
    try:
        yield conn
    except CONNECTION_ERRORS as error:
        raise translate(error) from error
    finally:
        await conn.close()
