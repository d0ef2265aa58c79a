"""What the client login can and cannot do, with its password in hand and any SQL at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from fluxbase.errors import InvalidArgument
from tests.world import USER1, USER2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fluxbase.app.backend import Backend
    from tests.security.conftest import Tight
    from tests.world import Caller

DENIED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidParameterValueError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.ReadOnlySQLTransactionError,
)
FORGED = f"""'{{"sub": "{USER2}", "role": "service_role", "client_key_id": "aaaaaaaa"}}'"""


@pytest.fixture
async def login(backend: Backend) -> AsyncGenerator[Any]:
    """A connection that whoever learns the client login's password could open."""
    conn = await asyncpg.connect(backend.database.logins.client)
    yield conn
    await conn.close()


@pytest.fixture
async def as_user1(login: Any, tight: Tight) -> Any:
    """The same connection as the role of user1's key, free to run anything."""
    await login.execute(f"SET ROLE {tight.who['user1'].role}")
    return login


ESCAPES = [
    "SET ROLE service_role",
    "SET ROLE fluxbase_service",
    "SET ROLE fluxbase_admin",
    "SET ROLE postgres",
    "SET ROLE pg_read_all_data",
    "SELECT set_config('role', 'service_role', false)",
    "SELECT set_config('role', 'service_role', true)",
    "SET SESSION AUTHORIZATION fluxbase_service",
    "SET SESSION AUTHORIZATION service_role",
    "SELECT set_config('session_authorization', 'fluxbase_admin', false)",
    "ALTER ROLE fluxbase_client BYPASSRLS",
    "ALTER ROLE fluxbase_client SUPERUSER",
    "ALTER ROLE service_role LOGIN PASSWORD 'x'",
    "ALTER ROLE fluxbase_service PASSWORD 'x'",
    "ALTER ROLE authenticated SET search_path = 'x'",
    "GRANT service_role TO fluxbase_client",
    "GRANT fluxbase_admin TO fluxbase_client",
    "CREATE ROLE evil",
    "CREATE SCHEMA evil",
    "CREATE TABLE public.evil (id int)",
    "CREATE TEMP TABLE evil (id int)",
    "CREATE FUNCTION public.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW public.evil AS SELECT 1",
    "CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION platform.notify_catalog()",
    "ALTER TABLE public.notes DISABLE ROW LEVEL SECURITY",
    "ALTER SYSTEM SET log_statement = 'all'",
    "DROP POLICY own ON public.notes",
    "CREATE POLICY mine ON public.notes USING (true)",
    "TRUNCATE public.notes",
    "SELECT secret FROM public.notes",
    "SELECT * FROM auth.api_keys",
    "SELECT mac FROM auth.api_keys",
    "UPDATE auth.api_keys SET revoked_at = NULL",
    "SELECT * FROM platform.audit",
    "DELETE FROM platform.audit",
    "INSERT INTO platform.audit (action, outcome) VALUES ('x', 'ok')",
    "SELECT * FROM platform.system_migrations",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/evil'",
    "SELECT pg_reload_conf()",
    "SELECT auth.create_key_role('key_evil', 'authenticated')",
    "SELECT auth.retire_key_role('authenticated')",
    "SELECT auth.allow_role('authenticated')",
    "SELECT auth.drop_key_role('authenticated')",
    "SELECT auth.change_base_role('key_a', 'anon', 'service_role')",
    "SELECT auth.notify_key()",
    "SELECT platform.ensure_role('evil', 'SUPERUSER')",
    "SET session_replication_role = replica",
    "SET row_security = off; SELECT * FROM public.comments",
]


@pytest.mark.parametrize("escape", ESCAPES)
async def test_neither_the_login_nor_a_key_role_can_do_it(
    escape: str, login: Any, tight: Tight
) -> None:
    for role in (None, tight.who["user1"].role):
        await login.execute("RESET ROLE" if role is None else f"SET ROLE {role}")
        with pytest.raises((*DENIED, asyncpg.FeatureNotSupportedError)):
            await login.execute(escape)


async def test_the_login_can_become_only_client_roles(login: Any, tight: Tight, owner: Any) -> None:
    rows = await login.fetch(
        "SELECT rolname, rolbypassrls, rolsuper, rolcanlogin FROM pg_roles "
        "WHERE pg_has_role(current_user, oid, 'SET') AND rolname <> current_user"
    )
    names = {row["rolname"] for row in rows}
    assert {"anon", "authenticated", tight.who["user1"].role} <= names
    assert all(n in ("anon", "authenticated") or n.startswith("key_") for n in names)
    assert not any(row["rolbypassrls"] or row["rolsuper"] for row in rows)
    # Only a key that may run SQL of its own logs in by itself, with a password that no one is told.
    free = await owner.fetch(
        "SELECT role_name FROM auth.api_keys "
        "WHERE scopes && ARRAY['*', 'execute:*', 'execute:sql', 'execute:sql_write']"
    )
    own = {row["role_name"] for row in free}
    assert {row["rolname"] for row in rows if row["rolcanlogin"]} <= own
    # NOINHERIT: before it becomes somebody, it may read nothing.
    for table in ("notes", "news", "unprotected"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"SELECT * FROM public.{table}")


async def test_the_service_login_can_become_only_service_role(backend: Backend) -> None:
    conn = await asyncpg.connect(backend.database.logins.service)
    try:
        names = await conn.fetch(
            "SELECT rolname FROM pg_roles "
            "WHERE pg_has_role(current_user, oid, 'SET') AND rolname <> current_user"
        )
        assert [row["rolname"] for row in names] == ["service_role"]
        for sql in ("SET ROLE fluxbase_admin", "CREATE TABLE public.evil (id int)"):
            with pytest.raises(DENIED):
                await conn.execute(sql)
    finally:
        await conn.close()


async def test_the_row_level_security_of_a_key_holds_for_any_sql_of_its_role(
    as_user1: Any, callers: dict[str, Caller]
) -> None:
    for sql in (
        "SELECT user_id FROM public.notes",
        "WITH x AS (SELECT user_id FROM public.notes) SELECT * FROM x",
        "SELECT user_id FROM public.notes WHERE true OR pg_sleep(0) IS NULL",
        "SELECT (SELECT user_id FROM public.notes OFFSET 0 LIMIT 1) FROM generate_series(1, 3)",
    ):
        found = {str(row[0]) for row in await as_user1.fetch(sql)}
        assert found == {USER1}, sql


@pytest.mark.parametrize(
    "forging",
    [
        f"SELECT set_config('request.jwt.claims', {FORGED}, false)",
        f"SET request.jwt.claims = {FORGED}",
        f"SET LOCAL request.jwt.claims = {FORGED}",
        f"SELECT set_config('request.jwt.claim.sub', '{USER2}', false)",
        "SET search_path = pg_temp, public, extensions",
        "SET row_security = off",
    ],
)
async def test_the_identity_of_a_key_cannot_be_forged(
    forging: str, as_user1: Any, owner: Any, tight: Tight
) -> None:
    await owner.execute(
        "CREATE OR REPLACE FUNCTION traps.asked_by_its_owner() RETURNS uuid LANGUAGE sql "
        "SECURITY DEFINER SET search_path = '' AS 'SELECT auth.uid()'"
    )
    async with as_user1.transaction():
        await as_user1.execute(forging)
        row = await as_user1.fetchrow(
            "SELECT auth.uid()::text, auth.role(), auth.jwt() ->> 'sub', auth.client_key_id(), "
            "traps.asked_by_its_owner()::text"
        )
    who = tight.who["user1"]
    assert tuple(row) == (USER1, "authenticated", USER1, who.id, USER1)


async def test_a_key_sees_no_other_key_in_the_view_that_tells_who_it_is(
    as_user1: Any, tight: Tight
) -> None:
    rows = await as_user1.fetch("SELECT id FROM auth.current_key")
    assert [row["id"] for row in rows] == [tight.who["user1"].id]


async def test_a_revoked_key_s_role_cannot_be_taken_on_in_the_database(
    login: Any, backend: Backend, issue: Callable[..., Any]
) -> None:
    key = await issue(user_id=USER1)
    role = f"key_{key.id}"
    await login.execute(f"SET ROLE {role}")
    await login.execute("RESET ROLE")
    await backend.keys.revoke("client_key", key.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await login.execute(f"SET ROLE {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await login.execute(f"SELECT set_config('role', '{role}', false)")


async def test_a_key_whose_base_role_would_bypass_policies_is_refused(
    backend: Backend, owner: Any, issue: Callable[..., Any]
) -> None:
    await owner.execute(
        "CREATE ROLE in_service NOLOGIN; GRANT service_role TO in_service; "
        "CREATE ROLE below_service NOLOGIN; GRANT in_service TO below_service; "
        "CREATE ROLE can_create NOLOGIN CREATEROLE; "
        "CREATE ROLE owns_a_table NOLOGIN; GRANT owns_a_table TO CURRENT_USER; "
        "CREATE TABLE hidden.owned (id int); GRANT CREATE, USAGE ON SCHEMA hidden TO owns_a_table; "
        "ALTER TABLE hidden.owned OWNER TO owns_a_table"
    )
    try:
        for role in (
            "service_role", "postgres", "fluxbase_admin", "fluxbase_client", "fluxbase_service",
            "pg_read_all_data", "in_service", "below_service", "can_create", "owns_a_table",
            "nobody there", 'x"; DROP TABLE public.notes; --',
        ):  # fmt: skip
            with pytest.raises(InvalidArgument):
                await issue(role=role)
        key = await issue(role="anon")
        with pytest.raises(InvalidArgument):
            await backend.keys.update("client_key", key.id, {"role": "below_service"})
    finally:
        await owner.execute(
            "DROP TABLE hidden.owned; REVOKE ALL ON SCHEMA hidden FROM owns_a_table; "
            "DROP ROLE below_service, in_service, can_create, owns_a_table"
        )
    # What was refused left neither a key nor a role behind.
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_roles r WHERE rolname ~ '^key_' AND NOT EXISTS "
        "(SELECT FROM auth.api_keys k WHERE k.role_name = r.rolname)"
    )


# Planted controls.


async def test_control_an_identity_read_from_a_setting_is_forged(
    as_user1: Any, owner: Any, tight: Tight
) -> None:
    await owner.execute(
        "CREATE OR REPLACE FUNCTION traps.uid_of_a_setting() RETURNS text LANGUAGE sql AS "
        "$$ SELECT current_setting('request.jwt.claims', true)::jsonb ->> 'sub' $$"
    )
    await as_user1.execute(f"SELECT set_config('request.jwt.claims', {FORGED}, false)")
    assert await as_user1.fetchval("SELECT traps.uid_of_a_setting()") == USER2


async def test_control_a_login_that_is_a_member_of_service_role_escapes(
    login: Any, owner: Any, callers: dict[str, Caller]
) -> None:
    await owner.execute("GRANT service_role TO fluxbase_client")
    try:
        await login.execute("SET ROLE service_role")
        seen = await login.fetch("SELECT DISTINCT user_id::text AS id FROM public.notes")
    finally:
        await owner.execute("REVOKE service_role FROM fluxbase_client")
    assert {row["id"] for row in seen} == {USER1, USER2}


async def test_control_without_its_policy_a_table_shows_everybody(
    as_user1: Any, owner: Any, callers: dict[str, Caller]
) -> None:
    await owner.execute("ALTER TABLE public.notes DISABLE ROW LEVEL SECURITY")
    try:
        seen = await as_user1.fetch("SELECT DISTINCT user_id::text AS id FROM public.notes")
    finally:
        await owner.execute("ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY")
    assert {row["id"] for row in seen} == {USER1, USER2}
