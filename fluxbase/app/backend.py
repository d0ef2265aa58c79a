"""Brings the database up, embedded or not, and hands it out ready; it must not serve HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.app.capacity import embedded_settings
from fluxbase.auth.keys import Keys
from fluxbase.auth.pepper import Peppers
from fluxbase.db.database import Database, session_settings
from fluxbase.db.dsn import database_of, socket_url
from fluxbase.db.prepare import Logins, announce_catalog, bootstrap, prepare
from fluxbase.egress.request import Outbound
from fluxbase.embedded import EmbeddedPostgres
from fluxbase.errors import ConfigError
from fluxbase.functions.secrets import Secrets
from fluxbase.functions.service import Functions
from fluxbase.storage.service import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fluxbase.config import Config
    from fluxbase.storage.store import Store

log = logging.getLogger(__name__)

DATABASE: Final = "fluxbase"


@dataclass(frozen=True, slots=True)
class Backend:
    """A database that is up, migrated and open, with the book of its keys."""

    config: Config
    database: Database
    peppers: Peppers
    keys: Keys
    announced: bool
    postgres: EmbeddedPostgres | None
    store: Store
    functions: Functions
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database that is up and migrated, for `open_database` in one process or several."""

    logins: Logins
    peppers: Peppers
    announced: bool
    postgres: EmbeddedPostgres | None


def load_peppers(config: Config) -> Peppers:
    """Return the peppers of the configuration, or those kept in their file.

    Raises:
        ConfigError: they are malformed, or their file cannot be used.
    """
    if config.auth.peppers is not None:
        return Peppers.parse(config.auth.peppers.get_secret_value())
    config.auth.peppers_file.parent.mkdir(parents=True, exist_ok=True)
    return Peppers.load_or_create(config.auth.peppers_file)


@asynccontextmanager
async def open_backend(
    config: Config, *, migrate: bool = True, notify: Callable[[str], None] = log.info
) -> AsyncGenerator[Backend]:
    """Start Postgres if it is ours, prepare the database, and close both at the end.

    Takes and raises what `open_prepared` does.
    """
    async with (
        open_prepared(config, migrate=migrate, notify=notify) as prepared,
        open_database(config, prepared) as backend,
    ):
        yield backend


@asynccontextmanager
async def open_prepared(
    config: Config, *, migrate: bool = True, notify: Callable[[str], None] = log.info
) -> AsyncGenerator[Prepared]:
    """Start Postgres if it is ours, prepare the database, and stop Postgres at the end.

    Args:
        config: the configuration.
        migrate: apply the program's pending migrations; else refuse when there are any.
        notify: is told what is being done when it takes long.

    Raises:
        ConfigError: the configuration cannot work.
        MigrationError: a migration failed or may not be applied.
        Unavailable: Postgres does not come up or cannot be reached.
    """
    peppers = await asyncio.to_thread(load_peppers, config)
    async with _cluster(config, peppers, notify) as (logins, superuser_url, postgres):
        ready = await prepare(
            logins.admin,
            base_url=logins.client,
            derive=lambda login: _password(peppers, login),
            migrations=migrate,
            roles=tuple(config.auth.jwt.role_map.values()) if config.auth.jwt.enabled else (),
            login_settings=_pooled_settings(config),
        )
        yield Prepared(ready, peppers, await announce_catalog(superuser_url), postgres)


@asynccontextmanager
async def open_database(config: Config, prepared: Prepared) -> AsyncGenerator[Backend]:
    """Open a database that is prepared, and close it at the end.

    Raises:
        Unavailable: Postgres cannot be reached.
    """
    database = Database(
        config.database, prepared.logins, lambda login: _password(prepared.peppers, login)
    )
    await database.open()
    store = open_store(config)
    outbound = Outbound(config.egress.allow, config.egress.ca_file, config.functions.max_response)
    secrets = Secrets(database, prepared.peppers)
    functions = Functions(config.functions, database, secrets, outbound)
    try:
        peppers = prepared.peppers
        keys = Keys(database, peppers)
        announced, postgres = prepared.announced, prepared.postgres
        yield Backend(
            config, database, peppers, keys, announced, postgres, store, functions, secrets
        )
    finally:
        await functions.close()
        await outbound.close()
        await store.close()
        await database.close()


@asynccontextmanager
async def open_owner(
    config: Config, *, notify: Callable[[str], None] = log.info
) -> AsyncGenerator[str]:
    """Start Postgres if it is ours and yield the owner's address; nothing is migrated.

    Raises:
        ConfigError: the configuration cannot work.
        Unavailable: Postgres does not come up or cannot be reached.
    """
    peppers = await asyncio.to_thread(load_peppers, config)
    async with _cluster(config, peppers, notify) as (logins, _, _):
        yield logins.admin


@asynccontextmanager
async def _cluster(
    config: Config, peppers: Peppers, notify: Callable[[str], None]
) -> AsyncGenerator[tuple[Logins, str, EmbeddedPostgres | None]]:
    """Yield the owner's address twice over: direct, and the one clients go by; and the cluster."""
    url = config.database.url
    if url is not None:
        base = url.get_secret_value()
        database_of(base)
        direct = config.database.direct_url
        if direct is None and config.database.pooler == "transaction":
            raise ConfigError(
                "database.direct_url: a transaction pooler carries neither migrations nor LISTEN",
                hint="give the address of the same database without the pooler",
            )
        admin = direct.get_secret_value() if direct else base
        yield Logins(admin, base, base), admin, None
        return
    embedded = config.database.embedded
    postgres = EmbeddedPostgres(
        embedded.data_dir,
        bin_dir=embedded.bin_dir,
        port=embedded.port,
        settings=embedded_settings(config),
        notify=notify,
    )
    endpoint = await postgres.start()
    try:
        superuser = socket_url(
            endpoint.socket_dir, endpoint.port, endpoint.user, endpoint.password, "postgres"
        )
        owner = await bootstrap(superuser, DATABASE, _password(peppers, f"{DATABASE}_admin"))
        inside = socket_url(
            endpoint.socket_dir, endpoint.port, endpoint.user, endpoint.password, DATABASE
        )
        yield Logins(owner, owner, owner), inside, postgres
    finally:
        await postgres.stop()


def _password(peppers: Peppers, login: str) -> str:
    """Return the password of a login: the same on every instance that has the pepper."""
    return base64.urlsafe_b64encode(peppers.derive(f"login/{login}")).decode().rstrip("=")


def _pooled_settings(config: Config) -> dict[str, str]:
    """Return what the logins must carry themselves because a pooler refuses it at connect."""
    if config.database.pooler == "none":
        return {}
    direct = config.database.model_copy(update={"pooler": "none"})
    settings = session_settings(direct)
    # Each transaction says by itself whether it reads or writes; and settings of an extension that
    # is not loaded yet may only be given to a login by a superuser.
    return {
        name: value
        for name, value in settings.items()
        if name != "default_transaction_read_only" and "." not in name
    }
