"""Makes, changes and ends users, and tells who holds a password; it must not know pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.db.audit import entry
from fluxbase.errors import InvalidArgument
from fluxbase.oauth.passwords import Passwords
from fluxbase.principal import parse_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.db.catalog import Fetch
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record

_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
ROLE: Final = "authenticated"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is logged in."""

    id: str
    email: str
    role: str
    scopes: tuple[str, ...]
    is_admin: bool = False


class Users:
    """The users of one database."""

    def __init__(self, database: Database, audit_key: bytes) -> None:
        self._database = database
        self._audit_key = audit_key
        self._passwords = Passwords()

    async def create(
        self,
        email: str,
        password: str,
        *,
        scopes: tuple[str, ...],
        role: str = ROLE,
        is_admin: bool = False,
    ) -> str:
        """Add a user and return its id.

        Raises:
            InvalidArgument: a field is wrong, or there is such a user already.
        """
        email = _email(email)
        hashed = await self._passwords.hash(password)
        async with self._database.administer() as run:
            if role != ROLE:
                await run("allow_role", role=role)
            rows = await run(
                "add_user",
                email=email,
                password_hash=hashed,
                role=role,
                scopes=_scopes(scopes),
                is_admin=is_admin,
            )
            if not rows:
                raise InvalidArgument("there is a user with this address already")
            await self._record(run, "create", rows[0]["id"])
        return str(rows[0]["id"])

    async def list(self) -> list[dict[str, Any]]:
        """Return every user, newest first, without what verifies a password."""
        return [_shown(row) for row in await self._database.admin("list_users")]

    async def get(self, id_or_email: str) -> dict[str, Any]:
        """Return one user.

        Raises:
            InvalidArgument: there is none.
        """
        wanted = id_or_email.lower()
        for user in await self.list():
            if wanted in (user["id"], user["email"].lower()):
                return user
        raise InvalidArgument("there is no such user")

    async def update(self, id_or_email: str, changes: Mapping[str, Any]) -> str:
        """Change `email`, `role`, `scopes`, `is_admin`, `password` or `disabled`; return the id.

        A new password, and being disabled, end every login in a browser.

        Raises:
            InvalidArgument: a field is wrong, or there is no such user.
        """
        fields = dict(changes)
        if "email" in fields:
            fields["email"] = _email(fields["email"])
        if "scopes" in fields:
            fields["scopes"] = _scopes(fields["scopes"])
        if "password" in fields:
            fields["password_hash"] = await self._passwords.hash(fields.pop("password"))
        async with self._database.administer() as run:
            user = await _locked(run, id_or_email)
            if fields.get("role", ROLE) != ROLE:
                await run("allow_role", role=fields["role"])
            await run("update_user", id=user["id"], changes=orjson.dumps(fields).decode())
            if "password_hash" in fields or fields.get("disabled"):
                await run("end_web_sessions", user_id=user["id"])
            await self._record(run, "update", user["id"])
        return str(user["id"])

    async def delete(self, id_or_email: str) -> str:
        """Remove a user and end all that it granted; return its id.

        Raises:
            InvalidArgument: there is no such user.
        """
        async with self._database.administer() as run:
            user = await _locked(run, id_or_email)
            await run("delete_user", id=user["id"])
            await self._record(run, "delete", user["id"])
        return str(user["id"])

    async def log_in(self, email: str, password: str) -> str | None:
        """Return the id of the user whose password this is; `None` when there is none."""
        rows = await self._database.admin("find_login", email=email) if len(email) <= 254 else []
        row = rows[0] if rows and rows[0]["disabled_at"] is None else None
        kept = row["password_hash"] if row is not None else None
        good = await self._passwords.matches(kept, password)
        return str(row["id"]) if good and row is not None else None

    async def _record(self, run: Fetch, what: str, target: str) -> None:
        record = entry(f"users/{what}", key=self._audit_key, target=target)
        await run("add_audit", entries=orjson.dumps([record.as_row("ok")]).decode())


async def _locked(run: Fetch, id_or_email: str) -> Record:
    rows = await run("lock_user", id_or_email=id_or_email)
    if not rows:
        raise InvalidArgument("there is no such user")
    return rows[0]


def _email(text: str) -> str:
    text = text.strip()
    if not _EMAIL.fullmatch(text) or not text.isprintable():
        raise InvalidArgument("email: an address such as name@example.com is expected")
    return text


def _scopes(scopes: tuple[str, ...]) -> list[str]:
    found = parse_scopes([*scopes])
    if not found:
        raise InvalidArgument("scopes: at least one is needed")
    return list(found)


def _shown(row: Record) -> dict[str, Any]:
    shown = dict(row)
    status = "disabled" if shown["disabled_at"] else "active"
    return {"id": shown.pop("id"), "email": shown.pop("email"), "status": status, **shown}
