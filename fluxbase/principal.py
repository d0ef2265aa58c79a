"""Who is calling and what that allows; it must not know how a credential is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final, Literal

import orjson

from fluxbase.errors import InvalidArgument

SCOPES: Final[dict[str, str]] = {
    "read:tables": "Query database tables",
    "write:tables": "Insert, update, delete records",
    "execute:functions": "Invoke edge functions",
    "execute:rpc": "Execute RPC procedures",
    "read:storage": "List and download files",
    "write:storage": "Upload and delete files",
    "execute:jobs": "Submit and monitor jobs",
    "read:vectors": "Vector similarity search",
    "read:schema": "Access database schema",
    "execute:sql": "Run SQL that reads",
    "execute:sql_write": "Run SQL that changes rows",
    "admin:ddl": "Change the database schema",
}
# What a user may let an assistant do; the rest needs a role of its own, or is for administrators.
GRANTABLE: Final = tuple(
    scope for scope in SCOPES if scope not in ("execute:sql", "execute:sql_write", "admin:ddl")
)
ALL_SCOPES: Final = "*"
_OF_TOKENS: Final = frozenset({"exp", "iat", "nbf", "jti", "auth_time", "session_id"})

Kind = Literal["client_key", "service_key", "user"]
Untrusted = Literal["wrap", "plain"]
Confirm = Literal["destructive", "nothing"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One authenticated caller, frozen for the length of a request.

    `role` is the Postgres role its SQL runs as, `claims` the JSON text of `request.jwt.claims`,
    `settings` the Postgres settings that its role carries (milliseconds and the like, as text).
    Empty `allowed_*` mean no further restriction; entries are globs. `untrusted_data` and
    `confirm` of `None` follow the configuration. `client_id` is the
    assistant that acts for a user, where one does.
    """

    kind: Kind
    id: str
    name: str
    role: str
    claims: str
    scopes: frozenset[str]
    user_id: str | None = None
    app_id: str | None = None
    client_id: str | None = None
    read_only: bool = False
    max_rows: int | None = None
    rate_limit: int | None = None
    untrusted_data: Untrusted | None = None
    confirm: Confirm | None = None
    allowed_tools: tuple[str, ...] = ()
    allowed_resources: tuple[str, ...] = ()
    allowed_schemas: tuple[str, ...] = ()
    allowed_tables: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = field(default=())

    @property
    def is_service(self) -> bool:
        """True for a service key: it becomes `service_role` and bypasses row-level security."""
        return self.kind == "service_key"

    @property
    def holder(self) -> str:
        """Whose idempotency keys this caller's are: of a user, the one with these very claims.

        What changes with every token of the same user is left out.
        """
        if self.kind != "user":
            return self.id
        claims = {k: v for k, v in orjson.loads(self.claims).items() if k not in _OF_TOKENS}
        said = orjson.dumps([self.role, claims], option=orjson.OPT_SORT_KEYS)
        return f"{self.id} {sha256(said).hexdigest()[:32]}"

    @property
    def owner(self) -> str:
        """Who has sessions and unfinished uploads: a key, or one assistant of a user."""
        return self.id if self.client_id is None else f"{self.id} {self.client_id}"

    def holds(self, scopes: tuple[str, ...]) -> bool:
        """Return whether the caller holds any one of `scopes`; an empty tuple asks for none."""
        return not scopes or ALL_SCOPES in self.scopes or any(s in self.scopes for s in scopes)

    def may_reach(self, schema: str, table: str, default: str = "public") -> bool:
        """Return whether the key's own schema and table lists let `schema.table` through.

        An entry without a dot names tables of the `default` schema, so that `not*` reaches no
        other one.
        """
        return allows(self.allowed_schemas, schema) and (
            not self.allowed_tables
            or any(_names(glob, schema, table, default) for glob in self.allowed_tables)
        )


def allows(globs: tuple[str, ...], name: str) -> bool:
    """Return whether `name` passes an allowlist of globs; an empty list lets everything pass."""
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def _names(glob: str, schema: str, table: str, default: str) -> bool:
    if glob == "*":
        return True
    first, dot, rest = glob.partition(".")
    if not dot:
        return schema == default and fnmatchcase(table, glob)
    return fnmatchcase(schema, first) and fnmatchcase(table, rest)


def parse_scopes(text: str | list[str]) -> tuple[str, ...]:
    """Return the scopes of a comma-separated text or a list, sorted and each once.

    The original's later spelling (`tables:read`) is taken as an alias of `read:tables`.

    Raises:
        InvalidArgument: a scope is unknown; the message names its place and the nearest one.
    """
    items = text.split(",") if isinstance(text, str) else text
    return tuple(sorted({_scope(item.strip()) for item in items if item.strip()}))


def _scope(word: str) -> str:
    if word == ALL_SCOPES or word in SCOPES:
        return word
    swapped = ":".join(reversed(word.split(":")))
    if swapped in SCOPES:
        return swapped
    close = get_close_matches(word, SCOPES, n=1) or get_close_matches(swapped, SCOPES, n=1)
    shown = word if len(word) <= 40 and word.isprintable() else "(unprintable)"
    raise InvalidArgument(
        f"unknown scope '{shown}'" + (f"; did you mean '{close[0]}'?" if close else ""),
        hint="known scopes: " + ", ".join(SCOPES),
    )
