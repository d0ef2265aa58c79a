"""Makes, changes and ends keys; it must not know who asks or how the answer is shown.

A client key and its Postgres role are made, and end, in one transaction. The secret leaves this
module once, in the answer of `create` or `rotate`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from fluxbase.auth import token
from fluxbase.db.audit import entry
from fluxbase.errors import InvalidArgument
from fluxbase.principal import ALL_SCOPES, SCOPES, parse_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.auth.pepper import Peppers
    from fluxbase.auth.token import KeyKind
    from fluxbase.db.catalog import Fetch
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.principal import Confirm, Untrusted

SERVICE_ROLE: Final = "service_role"
CLIENT_ROLE: Final = "authenticated"
NOUNS: Final[dict[KeyKind, str]] = {"client_key": "client key", "service_key": "service key"}


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key shall be; every field but the name has a default that allows nothing extra."""

    name: str
    scopes: tuple[str, ...] = ()
    role: str | None = None
    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict[str, Any])
    app_id: str | None = None
    read_only: bool = False
    max_rows: int | None = None
    rate_limit: int | None = None
    untrusted_data: Untrusted | None = None
    confirm: Confirm | None = None
    allowed_tools: tuple[str, ...] = ()
    allowed_resources: tuple[str, ...] = ()
    allowed_schemas: tuple[str, ...] = ()
    allowed_tables: tuple[str, ...] = ()
    allowed_cidrs: tuple[str, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A key just made or rotated, with its text, which is not kept anywhere."""

    id: str
    key: str = field(repr=False)


class Keys:
    """The book of keys of one database."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self._database = database
        self._peppers = peppers

    async def create(self, kind: KeyKind, new: NewKey) -> Issued:
        """Make a key, and for a client key its Postgres role, in one transaction.

        Raises:
            InvalidArgument: a field is wrong; the message names it.
        """
        checked = _checked(kind, new)
        issued = token.new(kind)
        is_client = kind == "client_key"
        role = checked.role or (CLIENT_ROLE if is_client else SERVICE_ROLE)
        fields = asdict(checked)
        del fields["role"]
        fields["claims"] = orjson.dumps(checked.claims).decode()
        async with self._database.administer() as run:
            if is_client:
                await run("create_key_role", role_name=f"key_{issued.id}", base_role=role)
            await run(
                "add_key",
                id=issued.id,
                kind=kind,
                role_name=f"key_{issued.id}" if is_client else None,
                base_role=role,
                pepper=self._peppers.current,
                mac=token.mac(self._peppers.ring[self._peppers.current], issued),
                **fields,
            )
            await self._record(run, "create", issued.id, fields)
        return Issued(issued.id, issued.text)

    async def list(self, kind: KeyKind) -> list[dict[str, Any]]:
        """Return every key of a kind, newest first, with `status` and without secrets."""
        return [_shown(row) for row in await self._database.admin("list_keys", kind=kind)]

    async def get(self, kind: KeyKind, id_or_name: str) -> dict[str, Any]:
        """Return one key.

        Raises:
            InvalidArgument: no key, or more than one, goes by that id or name.
        """
        found = [k for k in await self.list(kind) if id_or_name in (k["id"], k["name"])]
        exact = [k for k in found if k["id"] == id_or_name]
        return _one(kind, exact or found)

    async def update(self, kind: KeyKind, id_or_name: str, changes: Mapping[str, Any]) -> str:
        """Change the given fields of a key and return its id.

        Raises:
            InvalidArgument: a field is wrong, or there is no such key.
        """
        if "scopes" in changes and not changes["scopes"]:
            raise InvalidArgument("scopes: at least one is needed")
        valid = _checked(kind, replace(NewKey("unchanged"), **changes), made=False)
        fields = {name: getattr(valid, name) for name in changes}
        async with self._database.administer() as run:
            key = await _locked(run, kind, id_or_name)
            if "role" in fields:
                fields["base_role"] = role = fields.pop("role") or CLIENT_ROLE
                await run(
                    "change_base_role",
                    role_name=key["role_name"],
                    was=key["base_role"],
                    base_role=role,
                )
            text = orjson.dumps(fields).decode()
            await run("update_key", id=key["id"], changes=text)
            await self._record(run, "update", key["id"], fields)
        return str(key["id"])

    async def rotate(self, kind: KeyKind, id_or_name: str, grace: float = 0) -> Issued:
        """Give a key a new secret; the old one stays valid for `grace` seconds.

        Raises:
            InvalidArgument: there is no such key, or it is revoked.
        """
        async with self._database.administer() as run:
            key = await _locked(run, kind, id_or_name)
            if key["revoked_at"] is not None:
                raise InvalidArgument("the key is revoked; create a new one instead")
            fresh = token.Token(kind, key["id"], token.new(kind).secret)
            await run(
                "rotate_key",
                id=key["id"],
                pepper=self._peppers.current,
                mac=token.mac(self._peppers.ring[self._peppers.current], fresh),
                previous_until=datetime.now(UTC) + timedelta(seconds=grace),
            )
            await self._record(run, "rotate", key["id"], {"grace": grace})
        return Issued(fresh.id, fresh.text)

    async def revoke(self, kind: KeyKind, id_or_name: str) -> str:
        """End a key and return its id; its role can no longer be taken on by anyone.

        Raises:
            InvalidArgument: there is no such key.
        """
        async with self._database.administer() as run:
            key = await _locked(run, kind, id_or_name)
            if key["role_name"] and key["revoked_at"] is None:
                await run("retire_key_role", role_name=key["role_name"])
            await run("revoke_key", id=key["id"])
            await self._record(run, "revoke", key["id"], None)
        return str(key["id"])

    async def delete(self, kind: KeyKind, id_or_name: str) -> str:
        """Remove a key and its role and return its id; its audit records stay.

        Raises:
            InvalidArgument: there is no such key, or its role owns objects elsewhere.
        """
        async with self._database.administer() as run:
            key = await _locked(run, kind, id_or_name)
            await run("delete_key", id=key["id"])
            if key["role_name"]:
                await run("drop_key_role", role_name=key["role_name"])
            await self._record(run, "delete", key["id"], None)
        return str(key["id"])

    async def _record(self, run: Fetch, verb: str, key: str, arguments: object) -> None:
        hidden = self._peppers.derive("audit")
        record = entry(f"keys.{verb}", key=hidden, target=key, arguments=arguments)
        await run("add_audit", entries=orjson.dumps([record.as_row("ok")]).decode())


def _checked(kind: KeyKind, new: NewKey, *, made: bool = True) -> NewKey:
    """Return the key with its scopes in order, or say which field is wrong."""
    if not 1 <= len(new.name.strip()) <= 200 or not new.name.isprintable():
        raise InvalidArgument("name: 1 to 200 printable characters are expected")
    if kind == "service_key" and (new.role or new.user_id):
        raise InvalidArgument("role, user_id: a service key always is service_role")
    for name in ("max_rows", "rate_limit"):
        value = getattr(new, name)
        if value is not None and not 1 <= value <= 2**31 - 1:
            raise InvalidArgument(f"{name}: a number of at least 1 is expected")
    if new.expires_at is not None and new.expires_at <= datetime.now(UTC):
        raise InvalidArgument("expires: the time is already past")
    scopes = parse_scopes([*new.scopes]) or ((ALL_SCOPES,) if kind == "service_key" else ())
    if made and not scopes:
        raise InvalidArgument("scopes: at least one is needed", hint="one of " + ", ".join(SCOPES))
    return replace(
        new,
        scopes=scopes,
        user_id=_uuid(new.user_id),
        untrusted_data=_untrusted(kind, new.untrusted_data),
        confirm=_confirm(kind, new.confirm),
        allowed_cidrs=tuple(_cidr(text) for text in new.allowed_cidrs),
    )


def _uuid(text: str | None) -> str | None:
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        raise InvalidArgument("user_id: a UUID is expected") from None


def _untrusted(kind: KeyKind, choice: Untrusted | None) -> Untrusted | None:
    if choice not in (None, "wrap", "plain"):
        raise InvalidArgument("untrusted_data: wrap or plain is expected")
    if choice and kind == "service_key":
        raise InvalidArgument("untrusted_data: a service key follows mcp.untrusted_data")
    return choice


def _confirm(kind: KeyKind, choice: Confirm | None) -> Confirm | None:
    if choice not in (None, "destructive", "nothing"):
        raise InvalidArgument("confirm: destructive or nothing is expected")
    if choice and kind == "service_key":
        raise InvalidArgument("confirm: a service key follows mcp.confirm")
    return choice


def _cidr(text: str) -> str:
    try:
        return str(ip_network(text, strict=True))
    except ValueError:
        raise InvalidArgument(
            "allowed_cidrs: networks such as 192.0.2.0/24 or 2001:db8::/32 are expected"
        ) from None


async def _locked(run: Fetch, kind: KeyKind, id_or_name: str) -> Record:
    found = await run("lock_key", kind=kind, id_or_name=id_or_name)
    exact = [key for key in found if key["id"] == id_or_name]
    return _one(kind, exact or found)


def _one(kind: KeyKind, found: list[Any]) -> Any:
    if not found:
        raise InvalidArgument(f"there is no such {NOUNS[kind]}")
    if len(found) > 1:
        raise InvalidArgument(f"more than one {NOUNS[kind]} has this name; give its id")
    return found[0]


def _shown(row: Record) -> dict[str, Any]:
    shown = dict(row)
    shown["claims"] = orjson.loads(shown["claims"])
    now = datetime.now(UTC)
    if shown["revoked_at"]:
        status = "revoked"
    elif shown["expires_at"] and shown["expires_at"] <= now:
        status = "expired"
    else:
        status = "active"
    return {"id": shown.pop("id"), "name": shown.pop("name"), "status": status, **shown}
