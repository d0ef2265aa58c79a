"""What free SQL is refused, first by what it is made of, then by Postgres itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.sql import tools
from fluxbase.sql.judge import Judged
from tests.integration.sql.test_execute_sql import run
from tests.world import USER2, Caller, Refused

if TYPE_CHECKING:
    import asyncpg

# What may neither be read nor done, with the place it would be put in.
BATTERY = [
    "SELECT set_config('role', 'service_role', true)",
    "SELECT set_config('request.jwt.claims', '{\"sub\": \"x\"}', true), id FROM notes",
    "SELECT id FROM notes UNION SELECT length(set_config('role', 'none', true))",
    "SELECT query_to_xml('select 1', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT pg_sleep(10)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT current_setting('request.jwt.claims')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT dblink('host=127.0.0.1', 'select 1')",
    "SELECT * FROM dblink('x', 'y') AS t(a int)",
    "SELECT pg_notify('fluxbase_keys', 'x')",
    "SELECT pg_advisory_lock(1)",
    "SELECT nextval('notes_id_seq')",
    "SELECT * FROM pg_roles",
    "SELECT * FROM pg_catalog.pg_authid",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM auth.api_keys",
    "SELECT * FROM storage.blobs",
    "SELECT * FROM platform.audit",
    "SELECT * FROM hidden.vault",
    "SELECT 'auth.api_keys'::regclass",
    "SELECT CAST('x' AS pg_catalog.regrole)",
    "SELECT 1 OPERATOR(pg_catalog.+) 1",
    "SELECT pg_catalog.set_config('role', 'x', true)",
    "SELECT \"set_config\"('role', 'x', true)",
    "SELECT * FROM pg_catalog.generate_series(1, 2)",
    "SELECT * FROM hidden.unnest(ARRAY[1])",
    "SELECT auth.jwt()",
    "SELECT platform.write_audit('', '', '', '', '', '', '', '')",
    "SELECT * INTO stolen FROM notes",
    "SELECT * FROM notes FOR UPDATE",
    "WITH x AS (DELETE FROM notes RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO inbox (body) VALUES ('x') RETURNING *) SELECT * FROM x",
    "INSERT INTO inbox (body) WITH x AS (DELETE FROM notes RETURNING title) SELECT title FROM x",
    "COPY notes TO PROGRAM 'cat'",
    "COPY notes FROM '/etc/passwd'",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CALL x()",
    "SET ROLE service_role",
    "SET LOCAL request.jwt.claims = '{}'",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "BEGIN",
    "COMMIT",
    "COMMIT; DELETE FROM notes",
    "SELECT 1; DELETE FROM notes",
    "SELECT 1; SELECT 2",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "DECLARE c CURSOR FOR SELECT 1",
    "LISTEN x",
    "NOTIFY x",
    "LOCK TABLE notes",
    "VACUUM",
    "EXPLAIN ANALYZE DELETE FROM notes",
    "CREATE TABLE x (a int)",
    "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'select 1'",
    "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
    "DROP TABLE notes",
    "TRUNCATE notes",
    "GRANT ALL ON notes TO anon",
    "MERGE INTO notes USING news ON true WHEN MATCHED THEN DELETE",
    "REFRESH MATERIALIZED VIEW frozen_notes",
    "SELECT * FROM all_notes",
    "SELECT * FROM unprotected",
    "SELECT U&'\\0041'",
    "/* harmless */ SELECT pg_sleep(1) -- as said",
    "SELECT xmlelement(name x)",
    "SELECT repeat('x', 1000000000)",
    "SELECT 1 WHERE 1 <=> 1",
]
# What a statement could say if nothing judged it; Postgres alone has to hold.
ESCAPES = [
    ("SELECT set_config('role', 'service_role', true)", "role"),
    ("SELECT set_config('role', 'fluxbase_client', true)", "role"),
    ("SELECT set_config('session_authorization', 'postgres', true)", "session"),
    ("SELECT pg_read_file('/etc/passwd')", "file"),
    ("SELECT lo_import('/etc/passwd')", "file"),
    ("SELECT * FROM auth.api_keys", "table"),
    ("SELECT * FROM storage.blobs", "table"),
    ("SELECT * FROM pg_authid", "table"),
    (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        "kill",
    ),
    ("CREATE TABLE public.x (a int)", "create"),
    ("CREATE TEMP TABLE x (a int)", "create"),
    ("ALTER TABLE public.notes DISABLE ROW LEVEL SECURITY", "alter"),
]


@pytest.mark.parametrize("sql", BATTERY)
@pytest.mark.parametrize("write", [False, True])
async def test_free_sql_refuses_what_is_no_plain_statement(
    one: Caller, owner: asyncpg.Connection[asyncpg.Record], sql: str, write: bool
) -> None:
    with pytest.raises(Refused) as caught:
        await run(one, sql, write=write)
    assert caught.value.code in ("FLX101", "FLX201", "FLX302"), caught.value.message
    for word in ("passwd", "SQLSTATE", "asyncpg", "HINT"):
        assert word not in str(caught.value.answer)
    assert await owner.fetchval("SELECT count(*) FROM notes") == 17
    assert await owner.fetchval("SELECT relrowsecurity FROM pg_class WHERE relname = 'notes'")


def unjudged(text: str, *_: object, **__: object) -> Judged:
    """Let everything pass, as if the first wall were not there."""
    return Judged(text, (), (), writes=False, returns_rows=False)


@pytest.mark.parametrize(("sql", "what"), ESCAPES)
async def test_postgres_itself_holds_where_nothing_is_judged(
    one: Caller, monkeypatch: pytest.MonkeyPatch, sql: str, what: str
) -> None:
    async def free(*_: object) -> None:
        """Cost nothing: not every statement can be explained."""

    monkeypatch.setattr(tools, "judge", unjudged)
    monkeypatch.setattr(tools, "_check_cost", free)
    with pytest.raises(Refused):
        await run(one, sql)
    assert what


async def test_claims_that_are_overwritten_change_nothing(
    one: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = f'{{"sub": "{USER2}", "role": "service_role"}}'
    stolen = (
        f"SELECT set_config('request.jwt.claims', '{claims}', true) AS c, NULL::bigint AS id "
        "UNION ALL SELECT auth.uid()::text, id FROM notes"
    )

    def judged(*_: object, **__: object) -> Judged:
        return Judged(stolen, (), (), writes=False, returns_rows=True)

    monkeypatch.setattr(tools, "judge", judged)
    rows = (await run(one, "SELECT 1"))["rows"]
    assert {row["c"] for row in rows[1:]} == {"00000000-0000-4000-8000-000000000001"}
    assert len(rows) == 11


async def test_nothing_is_left_for_the_next(
    one: Caller, two: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(*_: object, **__: object) -> Judged:
        text = "SELECT set_config('role', 'authenticated', false) AS r"
        return Judged(text, (), (), writes=False, returns_rows=True)

    with monkeypatch.context() as patched:
        patched.setattr(tools, "judge", judged)
        await run(one, "SELECT 1")
    for caller, count in ((two, 7), (one, 10)):
        assert (await run(caller, "SELECT count(*) AS n FROM notes"))["rows"] == [{"n": count}]
        with pytest.raises(Refused):
            await run(caller, "SELECT * FROM ungranted")


async def test_control_the_battery_would_be_seen_without_the_judge(
    one: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def free(*_: object) -> None:
        """Cost nothing."""

    monkeypatch.setattr(tools, "judge", unjudged)
    monkeypatch.setattr(tools, "_check_cost", free)
    ran: list[Any] = [
        await run(one, sql)
        for sql in ("SELECT pg_sleep(0)", "SELECT current_setting('request.jwt.claims', true)")
    ]
    assert len(ran) == 2
