"""Secrets of functions: sealed in the database, opened for functions; it must not tell them."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from fluxbase.auth.box import Box, Sealed
from fluxbase.errors import ConfigError, HandlerFailed, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.auth.pepper import Peppers
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record

T = TypeVar("T")

log = logging.getLogger(__name__)

EVERY: Final = "*"
MOST_BYTES: Final = 65_536
MOST: Final = 100
_NAMESPACE: Final = re.compile(r"\*|[a-z][a-z0-9_-]{0,62}")
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_TAKEN: Final = ("FLUXBASE_", "DENO_")
_LIVE: Final = 5.0  # seconds, for when announcements cannot be heard


class Opened(dict[str, str]):
    """Secrets by their names; neither logs nor errors show what they say."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class _Known(NamedTuple):
    opened: Opened
    asked: float


class Secrets:
    """The secrets of all namespaces."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self._database = database
        self._box = Box(peppers, "secrets")
        self._known: dict[str, _Known] = {}
        self._forgotten = 0

    async def of(self, namespace: str) -> Mapping[str, str]:
        """Return the secrets that functions of a namespace have: its own before those of all.

        Raises:
            HandlerFailed: one cannot be opened; which one stands in the log.
            Unavailable: the database does not answer.
        """
        known = self._known.get(namespace)
        if known is not None and time.monotonic() - known.asked < _LIVE:
            return known.opened
        asked, count = time.monotonic(), self._forgotten
        rows = await self._database.admin("load_secrets", namespace=namespace)
        try:
            opened = Opened({row["name"]: self._told(row, self._box.open) for row in rows})
        except ConfigError as error:  # whoever calls a function need not know why
            raise HandlerFailed("the secrets of the function cannot be opened") from error
        if count == self._forgotten:  # else they changed while they were being read
            self._known[namespace] = _Known(opened, asked)
        return opened

    def forget(self) -> None:
        """Ask for them again the next time."""
        self._known.clear()
        self._forgotten += 1

    async def put(self, namespace: str, values: Mapping[str, str], by: str) -> int:
        """Keep secrets, all or none, and return how many there were of their names before.

        Raises:
            InvalidArgument: a name or a value cannot be taken, or they are too many.
        """
        check_namespace(namespace)
        for name, value in values.items():
            check(name, value)
        replaced = 0
        async with self._database.administer() as run:
            for name, value in values.items():
                sealed = self._seal(namespace, name, value)
                rows = await run("set_secret", **sealed, by=by, most=MOST)
                if not rows:
                    raise InvalidArgument(f"a namespace has at most {MOST} secrets")
                replaced += rows[0]["known"]
        self.forget()
        return replaced

    async def list(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return what secrets there are: `namespace`, `name`, `set_by`, `updated_at`."""
        rows = await self._database.admin("list_secrets", namespace=namespace)
        return [dict(row) for row in rows]

    async def remove(self, namespace: str, name: str) -> bool:
        """Forget a secret, and return whether there was one."""
        rows = await self._database.admin("delete_secret", namespace=namespace, name=name)
        self.forget()
        return bool(rows)

    async def rotate(self) -> int:
        """Seal anew what is not sealed with the current pepper; return how many that were.

        Raises:
            ConfigError: the pepper of one is missing; nothing was changed.
        """
        done = 0
        async with self._database.administer() as run:
            for row in await run("lock_secrets"):
                sealed = self._told(row, self._box.renewed)
                if sealed is not None:
                    place = {"namespace": row["namespace"], "name": row["name"]}
                    await run("seal_secret", **place, **sealed._asdict())
                    done += 1
        self.forget()
        return done

    def _seal(self, namespace: str, name: str, value: str) -> dict[str, object]:
        sealed = self._box.seal(value, namespace, name)
        return {"namespace": namespace, "name": name, **sealed._asdict()}

    def _told(self, row: Record, ask: Callable[..., T]) -> T:
        """Return what the box tells of a row; the log says which one it cannot open."""
        namespace, name = row["namespace"], row["name"]
        try:
            return ask(Sealed(row["pepper"], row["nonce"], row["sealed"]), namespace, name)
        except ConfigError:
            log.error("the secret %s of %s cannot be opened", name, namespace)  # noqa: TRY400 - its trace says no more
            raise


def check_namespace(namespace: str) -> None:
    """See that secrets can belong to a namespace.

    Raises:
        InvalidArgument: they cannot.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidArgument("namespace: small letters, digits, '_' and '-', or * for all")


def check(name: str, value: str) -> None:
    """See that a secret can be kept.

    Raises:
        InvalidArgument: its name or its value cannot be taken; neither is told.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument("name: capitals, digits and '_', a letter first, at most 63")
    if name.startswith(_TAKEN):
        raise InvalidArgument("name: FLUXBASE_ and DENO_ begin names of the server itself")
    if not value or "\0" in value:
        raise InvalidArgument("value: it is empty, or has a NUL in it")
    if len(value.encode(errors="surrogatepass")) > MOST_BYTES:
        raise InvalidArgument(f"value: at most {MOST_BYTES} bytes")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidArgument("value: it is no valid text")
