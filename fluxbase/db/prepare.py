"""Makes a database ready to serve: roles, migrations, logins; it must not serve anything."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.db import migrate
from fluxbase.db.dsn import scram_verifier, with_database, with_login
from fluxbase.db.errors import CONNECTION_ERRORS, translate
from fluxbase.db.files import sql_dir
from fluxbase.db.pool import connect
from fluxbase.db.queries import queries
from fluxbase.db.sql import Sql, concat, dollar_quoted, ident, sql
from fluxbase.errors import ConfigError, MigrationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from fluxbase.db.types import Connection

log = logging.getLogger(__name__)

ADMIN_SETTINGS: Final = {
    "application_name": "fluxbase admin",
    "search_path": "public, extensions",
    "timezone": "UTC",
}
MIN_VERSION: Final = 150000
_LOCK: Final = 0x666C7579


@dataclass(frozen=True, slots=True)
class Logins:
    """The addresses of the three logins."""

    admin: str
    client: str
    service: str


async def bootstrap(superuser_url: str, database: str, password: str) -> str:
    """Make the owner login and its database on a cluster of our own; return the owner's address.

    Does nothing that is done already, so it runs at every start.
    """
    owner = f"{database}_admin"
    conn = await connect(superuser_url, settings={}, seconds=10)
    try:
        # Held until the connection ends: another process may share the cluster.
        await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
        if not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", owner):
            await conn.execute(
                concat(
                    sql("CREATE ROLE "),
                    ident(owner),
                    sql(" LOGIN CREATEROLE CREATEDB BYPASSRLS"),
                )
            )
        await _set_password(conn, owner, password)
        if not await conn.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await conn.execute(
                concat(sql("CREATE DATABASE "), ident(database), sql(" OWNER "), ident(owner))
            )
    finally:
        await conn.close()
    inside = await connect(with_database(superuser_url, database), settings={}, seconds=10)
    try:
        await inside.execute("SELECT pg_advisory_lock($1)", _LOCK)
        # Only a superuser may, and the owner's migration then finds it done.
        await inside.execute("CREATE SCHEMA IF NOT EXISTS extensions")
        await inside.execute(concat(sql("ALTER SCHEMA extensions OWNER TO "), ident(owner)))
        await inside.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions")
    finally:
        await inside.close()
    return with_login(with_database(superuser_url, database), owner, password)


async def announce_catalog(url: str) -> bool:
    """Install the event trigger that announces catalog changes; return whether it is there."""
    conn = await connect(url, settings=ADMIN_SETTINGS, seconds=10)
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
        found = await conn.fetchval(queries()["has_event_trigger"].sql)
        if found:
            return True
        try:
            await conn.execute((sql_dir() / "event_trigger.sql").read_text("utf-8"))
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True
    finally:
        await conn.close()


async def prepare(
    admin_url: str,
    *,
    base_url: str,
    derive: Callable[[str], str],
    migrations: bool,
    roles: tuple[str, ...],
    login_settings: Mapping[str, str],
) -> Logins:
    """Apply the program's migrations, set the logins' passwords, and return all addresses.

    Args:
        admin_url: the owner of the database, not through a transaction pooler.
        base_url: the address that the other logins are made from; may lead through a pooler.
        derive: makes the password of a login from its name; the same on every instance.
        migrations: whether to apply pending migrations, or to refuse to start with any.
        roles: roles that tokens map to; the client login must be able to become them.

        login_settings: settings that the logins carry, where they cannot be sent at connect.

    Raises:
        ConfigError: Postgres is too old, or a role of `roles` is missing or unsafe.
        MigrationError: a migration failed, or is pending and may not be applied.
    """
    conn = await connect(admin_url, settings=ADMIN_SETTINGS, seconds=10)
    try:
        version = conn.get_server_version()
        if version.major * 10000 < MIN_VERSION:
            raise ConfigError(f"Postgres 15 or newer is needed; this is {version.major}")
        await _migrate(conn, apply=migrations)
        logins: dict[str, str] = {}
        async with _alone(conn):
            for kind in ("client", "service"):
                name = str(await conn.fetchval("SELECT platform.login_name($1)", kind))
                await _set_password(conn, name, derive(name))
                await _carry(conn, name, login_settings)
                logins[kind] = with_login(base_url, name, derive(name))
            for role in roles:
                await _allow(conn, role)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"database.url: the owner's login may not prepare the database ({error.args[0]})",
            hint="it needs CREATEROLE, must own the database, and roles of the same names must be "
            "its own",
        ) from error
    except CONNECTION_ERRORS as error:
        raise translate(error) from error
    finally:
        await conn.close()
    return Logins(admin_url, logins["client"], logins["service"])


@asynccontextmanager
async def _alone(conn: Connection) -> AsyncGenerator[None]:
    """Hold off other instances: Postgres fails who changes a role that another is changing."""
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        yield
    finally:
        if not conn.is_closed():
            await conn.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _migrate(conn: Connection, *, apply: bool) -> None:
    ours = migrate.system()
    if apply:
        for migration in await migrate.up(conn, "system_migrations", ours):
            log.info("applied migration %s_%s", migration.version, migration.name)
        return
    pending = [s for s in await migrate.status(conn, "system_migrations", ours) if not s.applied_at]
    if pending:
        raise MigrationError(
            f"{len(pending)} migrations of the program are pending",
            hint="run `fluxbase migrate up`, or set migrations.at_start",
        )


async def _set_password(conn: Connection, login: str, password: str) -> None:
    # A salt that follows from the login makes this idempotent: every instance sets the same text.
    verifier = scram_verifier(password, sha256(f"{login}:{password}".encode()).digest()[:16])
    literal = dollar_quoted(verifier, "q" + secrets.token_hex(8))
    await conn.execute(concat(sql("ALTER ROLE "), ident(login), sql(" PASSWORD "), literal))


async def _carry(conn: Connection, login: str, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        literal = dollar_quoted(value, "q" + secrets.token_hex(8))
        if name == "search_path":  # a list of names; as one literal it would be one name
            literal = Sql(value)
        await conn.execute(
            concat(sql("ALTER ROLE "), ident(login), sql(" SET "), ident(name), sql(" = "), literal)
        )


async def _allow(conn: Connection, role: str) -> None:
    try:
        await conn.execute(queries()["allow_role"].sql, role)
    except asyncpg.PostgresError as error:
        raise ConfigError(
            f"auth.jwt.role_map: the role '{role}' is missing, cannot be granted, or would bypass "
            "row-level security"
        ) from error
