"""The demo: three accounts with their data, and keys to look at it; it must not print anything.

The keys are kept in a file beside the pepper, so that every start shows the same. They open the
demo's rows only, except the service key, which is as mighty as any other.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

import orjson

from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import Credential
from fluxbase.auth.keys import NewKey
from fluxbase.db.files import sql_dir
from fluxbase.db.pool import connect
from fluxbase.db.prepare import ADMIN_SETTINGS
from fluxbase.db.queries import queries
from fluxbase.errors import ConfigError, Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from fluxbase.auth.token import KeyKind
    from fluxbase.config import Config

SCOPES: Final = ("read:tables", "write:tables", "execute:functions", "read:schema")
LIFETIME: Final = timedelta(days=90)
_USER: Final = "00000000-0000-4000-8000-{:012d}"


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """The keys of the demo, in the clear."""

    user1: str = field(repr=False)
    user2: str = field(repr=False)
    service: str = field(repr=False)


def keys_file(config: Config) -> Path:
    """Return where the demo's keys are kept."""
    return config.auth.peppers_file.parent / "demo-keys.json"


async def install(backend: Backend) -> DemoKeys:
    """Put the demo data in unless it is there, and return keys that work.

    Raises:
        ConfigError: tables of somebody else stand in the way.
        Unavailable: the database cannot be reached.
    """
    await _put_data(backend.database.logins.admin)
    file = keys_file(backend.config)
    kept = _read(file)
    keys = DemoKeys(
        await _key(backend, "client_key", _client(1), kept.get("user1")),
        await _key(backend, "client_key", _client(2), kept.get("user2")),
        await _key(backend, "service_key", NewKey("Demo service"), kept.get("service")),
    )
    if asdict(keys) != kept:
        _write(file, keys)
    return keys


async def _put_data(owner_url: str) -> None:
    conn = await connect(owner_url, settings=ADMIN_SETTINGS, seconds=10)
    try:
        async with conn.transaction():
            await conn.execute(queries()["lock_demo"].sql)
            state = await conn.fetchrow(queries()["demo_state"].sql)
            if state is None or state["installed"]:
                return
            if state["taken"]:
                raise ConfigError(
                    f"--demo: {', '.join(state['taken'])} exist already and are not the demo's",
                    hint="start without --demo, or use another database",
                )
            await conn.execute((sql_dir() / "demo.sql").read_text("utf-8"))
    finally:
        await conn.close()


def _client(number: int) -> NewKey:
    return NewKey(f"Demo user {number}", scopes=SCOPES, user_id=_USER.format(number))


async def _key(backend: Backend, kind: KeyKind, new: NewKey, kept: str | None) -> str:
    """Return the kept key while it works; else a new secret for its record, or a new record."""
    if kept and await _works(backend, kind, kept):
        return kept
    expires = datetime.now(UTC) + LIFETIME
    for key in await backend.keys.list(kind):
        if key["name"] == new.name and key["status"] == "active":
            await backend.keys.update(kind, key["id"], {"expires_at": expires})
            return (await backend.keys.rotate(kind, key["id"])).key
    return (await backend.keys.create(kind, replace(new, expires_at=expires))).key


async def _works(backend: Backend, kind: KeyKind, text: str) -> bool:
    source = "x-client-key" if kind == "client_key" else "x-service-key"
    config = backend.config.auth
    authenticator = Authenticator(
        backend.database, backend.peppers, live=config.key_cache, jwt=config.jwt, verifier=None
    )
    try:
        await authenticator.authenticate(Credential(source, text), "127.0.0.1")
    except Unauthenticated:
        return False
    return True


def _read(file: Path) -> dict[str, str]:
    try:
        found: object = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    if not isinstance(found, dict):
        return {}
    entries = cast("dict[str, object]", found)
    return {name: value for name, value in entries.items() if isinstance(value, str)}


def _write(file: Path, keys: DemoKeys) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: the file is never half there, and never readable by others.
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(orjson.dumps(asdict(keys), option=orjson.OPT_INDENT_2) + b"\n")
    draft.replace(file)
