"""Applies plain SQL migrations in order, each in one transaction; it must not know what they do.

Files are named `<version>_<name>.sql` and follow dbmate's format: `-- migrate:up`, then
optionally `-- migrate:down`; `-- migrate:up transaction:false` runs outside a transaction. A file
that changed after it ran is refused. Two histories live side by side: ours and the user's.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import asyncpg

from fluxbase.db.files import sql_dir
from fluxbase.errors import MigrationError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from fluxbase.db.types import Connection

History = Literal["system_migrations", "user_migrations"]

# One number for every server and CLI: only one of them migrates a database at a time.
_LOCK: Final = 0x666C7578
_NAME: Final = re.compile(r"^(\d+)_([A-Za-z0-9_-]+)\.sql$")
_UP: Final = re.compile(r"^--\s*migrate:up([^\n]*)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"--[^\n]*")
_DOWN: Final = re.compile(r"^--\s*migrate:down([^\n]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version and name, the SQL of both directions, and its checksum."""

    version: str
    name: str
    up: str
    down: str | None
    in_transaction: bool
    checksum: str


@dataclass(frozen=True, slots=True)
class Status:
    """One migration and when it was applied (`None`: pending); `missing` when its file is gone."""

    version: str
    name: str
    applied_at: datetime | None
    missing: bool = False


def read(folder: Path) -> list[Migration]:
    """Return the migrations of a folder in order of their version; a missing folder has none.

    Raises:
        MigrationError: a name or a file is malformed, or two files share a version.
    """
    found: dict[str, Migration] = {}
    for file in sorted(folder.glob("*.sql")) if folder.is_dir() else ():
        migration = _parse(file)
        if migration.version in found:
            raise MigrationError(f"{file.name}: another file has version {migration.version}")
        found[migration.version] = migration
    return sorted(found.values(), key=lambda m: (int(m.version), m.version))


def system() -> list[Migration]:
    """Return the migrations that come with the program."""
    return read(sql_dir() / "migrations")


def _parse(file: Path) -> Migration:
    named = _NAME.match(file.name)
    if not named:
        raise MigrationError(f"{file.name}: a name such as 20260101120000_add_notes.sql is needed")
    text = file.read_text("utf-8")
    up = _UP.search(text)
    if not up:
        raise MigrationError(f"{file.name}: the line '-- migrate:up' is missing")
    down = _DOWN.search(text, up.end())
    return Migration(
        version=named[1],
        name=named[2],
        up=text[up.end() : down.start() if down else None].strip(),
        down=text[down.end() :].strip() if down else None,
        in_transaction="transaction:false" not in up[1].replace(" ", ""),
        checksum=hashlib.sha256(text.encode()).hexdigest(),
    )


async def up(conn: Connection, history: History, migrations: list[Migration]) -> list[Migration]:
    """Apply what is pending and return it; the whole run holds a lock against other runs.

    Raises:
        MigrationError: an applied file was changed, or a migration failed; the message names it,
            and what was applied before it stays.
    """
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        applied = await _applied(conn, history)
        pending: list[Migration] = []
        for migration in migrations:
            seen = applied.get(migration.version)
            if seen is None:
                pending.append(migration)
            elif seen["checksum"] != migration.checksum:
                raise MigrationError(
                    f"migration {migration.version}_{migration.name} was changed after it ran",
                    hint="restore the file and put the change into a new migration",
                )
        for migration in pending:
            await _apply(conn, history, migration)
            # A dump sets search_path and more for its session; the next file must not inherit it.
            await conn.execute("RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL")
        return pending
    finally:
        await _unlock(conn)


async def down(conn: Connection, history: History, migrations: list[Migration]) -> Migration:
    """Undo the migration applied last and return it.

    Raises:
        MigrationError: there is none, its file is gone, or it has no `-- migrate:down` part.
    """
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        applied = await _applied(conn, history)
        if not applied:
            raise MigrationError("there is no applied migration to undo")
        last = max(applied, key=int)
        migration = next((m for m in migrations if m.version == last), None)
        if migration is None:
            raise MigrationError(f"the file of migration {last} is gone")
        if not _COMMENT.sub("", migration.down or "").strip():
            raise MigrationError(f"migration {last}_{migration.name} has no '-- migrate:down' part")
        await _undo(conn, history, migration)
        return migration
    finally:
        await _unlock(conn)


async def status(conn: Connection, history: History, migrations: list[Migration]) -> list[Status]:
    """Return every migration known by file or by history, in order; nothing is changed."""
    applied = await _history(conn, history)
    rows = [
        Status(
            m.version, m.name, applied[m.version]["applied_at"] if m.version in applied else None
        )
        for m in migrations
    ]
    known = {m.version for m in migrations}
    rows += [
        Status(version, row["name"], row["applied_at"], missing=True)
        for version, row in applied.items()
        if version not in known
    ]
    return sorted(rows, key=lambda r: (int(r.version), r.version))


async def _unlock(conn: Connection) -> None:
    if not conn.is_closed():
        await conn.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _applied(conn: Connection, history: History) -> dict[str, asyncpg.Record]:
    await conn.execute("CREATE SCHEMA IF NOT EXISTS platform")
    await conn.execute(
        f"CREATE TABLE IF NOT EXISTS platform.{history} (version text PRIMARY KEY, "
        "name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    return await _history(conn, history)


async def _history(conn: Connection, history: History) -> dict[str, asyncpg.Record]:
    # Only looking must not need the right to create, nor meet another who creates.
    if not await conn.fetchval("SELECT to_regclass($1)", f"platform.{history}"):
        return {}
    rows = await conn.fetch(f"SELECT * FROM platform.{history}")  # noqa: S608 - one of two literals
    return {row["version"]: row for row in rows}


async def _apply(conn: Connection, history: History, migration: Migration) -> None:
    record = f"INSERT INTO platform.{history} (version, name, checksum) VALUES ($1, $2, $3)"  # noqa: S608
    values = (migration.version, migration.name, migration.checksum)
    if not _COMMENT.sub("", migration.up).strip():
        # Recorded now, it would count as changed after it ran once its SQL is written.
        raise MigrationError(
            f"migration {migration.version}_{migration.name} has no SQL after '-- migrate:up'",
            hint="write it, or remove the file",
        )
    try:
        if not migration.in_transaction:
            await conn.execute(migration.up)
            await conn.execute(record, *values)
            return
        async with conn.transaction():
            await conn.execute(migration.up)
            await conn.execute(record, *values)
    except asyncpg.PostgresError as error:
        raise _failed(migration, migration.up, error) from error


async def _undo(conn: Connection, history: History, migration: Migration) -> None:
    forget = f"DELETE FROM platform.{history} WHERE version = $1"  # noqa: S608 - one of two literals
    try:
        async with conn.transaction():
            await conn.execute(str(migration.down))
            await conn.execute(forget, migration.version)
    except asyncpg.PostgresError as error:
        raise _failed(migration, str(migration.down), error) from error


def _failed(migration: Migration, text: str, error: asyncpg.PostgresError) -> MigrationError:
    # The author of a migration is an administrator who needs Postgres' own words.
    line = ""
    if error.position and str(error.position).isdigit():
        line = f", line {text[: int(error.position)].count(chr(10)) + 1} of its SQL"
    return MigrationError(
        f"migration {migration.version}_{migration.name} failed{line}: {error.args[0]}",
        hint="nothing of this migration was applied"
        if migration.in_transaction
        else "it runs outside a transaction: look at what it left behind",
    )
