"""Says what is exposed unsafely and how to mend it; it must not change anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fluxbase.db.database import Database

_LINTS: Final = {
    "table_without_rls": (
        "clients hold privileges, but row-level security is off",
        "ALTER TABLE {} ENABLE ROW LEVEL SECURITY;",
    ),
    "view_not_security_invoker": (
        "the view reads with its owner's rights and skips row-level security",
        "ALTER VIEW {} SET (security_invoker = true);",
    ),
    "materialized_view_exposed": (
        "a materialized view holds rows of everybody and has no row-level security",
        "REVOKE ALL ON {} FROM anon, authenticated;",
    ),
    "foreign_table_exposed": (
        "a foreign table has no row-level security",
        "REVOKE ALL ON {} FROM anon, authenticated;",
    ),
    "rls_without_policy": (
        "row-level security is on without any policy, so clients see nothing",
        "CREATE POLICY … ON {} …;",
    ),
    "schema_create_granted": (
        "clients may create objects in the schema",
        "REVOKE CREATE ON SCHEMA {} FROM PUBLIC, anon, authenticated;",
    ),
    "security_definer_without_search_path": (
        "the function runs with its owner's rights and looks names up where callers may put them",
        "ALTER FUNCTION {} SET search_path = pg_catalog;",
    ),
    "login_may_bypass_rls": (
        "the clients' login may bypass row-level security",
        "ALTER ROLE {} NOSUPERUSER NOBYPASSRLS; REVOKE service_role FROM {};",
    ),
    "service_role_obeys_rls": (
        "service keys obey row-level security here, because the owner could not grant BYPASSRLS",
        "ALTER ROLE {} BYPASSRLS;",
    ),
}
# Worth knowing, but nothing that clients can reach too much by.
_HARMLESS: Final = frozenset({"rls_without_policy", "service_role_obeys_rls"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: its name, on what, in words, and SQL that mends it."""

    lint: str
    target: str
    text: str
    fix: str

    @property
    def unsafe(self) -> bool:
        """True when clients may reach more than they should."""
        return self.lint not in _HARMLESS

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON would hold it."""
        return asdict(self)


async def lint(database: Database) -> list[Finding]:
    """Return what is exposed unsafely to client roles.

    Raises:
        FluxbaseError: the database does not answer.
    """
    config = database.config
    rows = await database.admin(
        "lint_exposure",
        schemas=list(config.exposed_schemas),
        exceptions=list(config.rls_exceptions),
    )
    return [_finding(row["lint"], row["target"]) for row in rows]


def _finding(name: str, target: str) -> Finding:
    text, fix = _LINTS[name]
    return Finding(name, target, text, fix.replace("{}", target))
