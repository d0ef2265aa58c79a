"""Functions that run whatever SQL a row holds, and what a borrowed connection's state is.

An admin would never write them. They stand for every mistake that lets a caller's text become SQL,
so that the battery shows what is left behind on a connection afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.db.audit import Entry
from fluxbase.db.sql import Statement, sql
from tests.world import USER2

if TYPE_CHECKING:
    from fluxbase.db.database import Database
    from fluxbase.principal import Principal

SCHEMA: Final = """
CREATE SCHEMA traps;
GRANT USAGE ON SCHEMA traps TO anon, authenticated, service_role;

CREATE FUNCTION traps.spring(orders text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF orders <> '' THEN EXECUTE orders; END IF;
  RETURN true;
END $$;
CREATE FUNCTION traps.spring_immutable(orders text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF orders <> '' THEN EXECUTE orders; END IF;
  RETURN true;
END $$;
CREATE FUNCTION traps.spring_latest() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE (SELECT body FROM traps.latest);
  RETURN true;
END $$;
CREATE FUNCTION traps.spring_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE NEW.orders;
  RETURN NEW;
END $$;

CREATE TABLE traps.latest (body text);
CREATE TABLE traps.in_policy (id int PRIMARY KEY, orders text);
CREATE TABLE traps.below_view (id int PRIMARY KEY, orders text);
CREATE VIEW traps.in_view WITH (security_invoker = true) AS
  SELECT id, traps.spring(orders) AS sprung FROM traps.below_view;
CREATE TABLE traps.in_trigger (id int, orders text);
CREATE TRIGGER first BEFORE INSERT ON traps.in_trigger
  FOR EACH ROW EXECUTE FUNCTION traps.spring_row();
CREATE TABLE traps.after_commit (id int, orders text);
CREATE CONSTRAINT TRIGGER last AFTER INSERT ON traps.after_commit DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION traps.spring_row();
CREATE TABLE traps.in_default (id int, sprung boolean DEFAULT traps.spring_latest());
CREATE TABLE traps.in_generated (id int, orders text,
  sprung boolean GENERATED ALWAYS AS (traps.spring_immutable(orders)) STORED);

ALTER TABLE traps.latest ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.in_policy ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.below_view ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.in_trigger ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.after_commit ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.in_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE traps.in_generated ENABLE ROW LEVEL SECURITY;
CREATE POLICY sprung ON traps.in_policy USING (traps.spring(orders));
CREATE POLICY all_of_it ON traps.latest USING (true);
CREATE POLICY all_of_it ON traps.below_view USING (true);
CREATE POLICY all_of_it ON traps.in_trigger USING (true);
CREATE POLICY all_of_it ON traps.after_commit USING (true);
CREATE POLICY all_of_it ON traps.in_default USING (true);
CREATE POLICY all_of_it ON traps.in_generated USING (true);
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA traps TO authenticated, service_role;
"""

READING: Final = ("in_policy", "in_view")
WRITING: Final = ("in_trigger", "after_commit", "in_default", "in_generated")

FORGED: Final = f'{{"sub": "{USER2}", "role": "service_role"}}'
ATTACKS: Final[dict[str, str]] = {
    "become_service": "SELECT set_config('role', 'service_role', false)",
    "become_service_locally": "SELECT set_config('role', 'service_role', true)",
    "set_role_service": "SET ROLE service_role",
    "set_local_role_service": "SET LOCAL ROLE service_role",
    "become_authenticated": "SELECT set_config('role', 'authenticated', false)",
    "set_role_none": "SET ROLE NONE",
    "reset_role": "RESET ROLE",
    "become_the_login": "SET SESSION AUTHORIZATION fluxbase_service",
    "become_the_owner": "SET SESSION AUTHORIZATION fluxbase_admin",
    "reset_authorization": "RESET SESSION AUTHORIZATION",
    "forge_claims": f"SELECT set_config('request.jwt.claims', '{FORGED}', false)",
    "forge_claims_locally": f"SELECT set_config('request.jwt.claims', '{FORGED}', true)",
    "forge_sub": f"SELECT set_config('request.jwt.claim.sub', '{USER2}', false)",
    "own_setting": "SELECT set_config('app.planted', 'yes', false)",
    "search_path": "SELECT set_config('search_path', 'pg_temp, hidden, public', false)",
    "row_security_off": "SELECT set_config('row_security', 'off', false)",
    "no_statement_timeout": "SELECT set_config('statement_timeout', '0', false)",
    "tiny_statement_timeout": "SELECT set_config('statement_timeout', '1', false)",
    "read_write": "SELECT set_config('default_transaction_read_only', 'off', false)",
    "encoding": "SELECT set_config('client_encoding', 'LATIN1', false)",
    "multibyte_encoding": "SELECT set_config('client_encoding', 'SJIS', false)",
    "old_strings": "SELECT set_config('standard_conforming_strings', 'off', false)",
    "time_zone": "SELECT set_config('timezone', 'Asia/Tokyo', false)",
    "temp_table": "CREATE TEMP TABLE notes (id int)",
    "temp_view": "CREATE TEMP VIEW notes AS SELECT 1 AS id",
    "prepare": "PREPARE planted AS SELECT 1",
    "advisory_lock": "SELECT pg_advisory_lock(4242)",
    "listen": "LISTEN fluxbase_keys",
    "held_cursor": "DECLARE planted CURSOR WITH HOLD FOR SELECT 1",
    "sequence": "SELECT set_config('app.planted', currval('public.notes_id_seq')::text, false)",
    "commit": "COMMIT",
    "discard": "DISCARD ALL",
    "alter_own_role": "ALTER ROLE CURRENT_USER SET statement_timeout = 0",
}

_STATE: Final = sql("""SELECT current_user::text, json_build_object(
  'session_user', session_user, 'role', current_setting('role'),
  'claims', nullif(current_setting('request.jwt.claims', true), ''),
  'sub', nullif(current_setting('request.jwt.claim.sub', true), ''),
  'planted', nullif(current_setting('app.planted', true), ''),
  'settings', (SELECT json_object_agg(name, setting ORDER BY name) FROM pg_settings
    WHERE name IN ('search_path', 'row_security', 'statement_timeout', 'lock_timeout', 'timezone',
      'default_transaction_read_only', 'client_encoding', 'standard_conforming_strings',
      'idle_in_transaction_session_timeout', 'datestyle', 'work_mem')),
  'temporary', (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
  'locks', (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
  'cursors', (SELECT count(*) FROM pg_cursors WHERE is_holdable),
  'channels', (SELECT count(*) FROM pg_listening_channels()),
  'uid', auth.uid(), 'jwt', auth.jwt())::text""")


@dataclass(frozen=True)
class Borrower:
    """Somebody who takes a connection next, to read or to write."""

    who: Principal
    writes: bool

    async def state(self, database: Database) -> dict[str, Any]:
        """Return all that the connection is set to, as its borrower finds it."""
        if not self.writes:
            return _decoded(await database.read(self.who, Statement(_STATE)))
        async with database.write(self.who, Entry("probe"), dry_run=True) as session:
            return _decoded(await session.fetchrow(Statement(_STATE)))


def _decoded(row: Any) -> dict[str, Any]:
    return {"current_user": row[0], **orjson.loads(row[1])}
