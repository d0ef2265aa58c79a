-- Sessions of clients that speak a version of the protocol that has them, and what streams still owe them.
-- migrate:up
CREATE TABLE platform.mcp_sessions (
  id text PRIMARY KEY,
  principal text NOT NULL,
  version text NOT NULL,
  client json NOT NULL,
  log_level text,
  subscriptions text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  seen_at timestamptz
);
CREATE INDEX mcp_sessions_principal ON platform.mcp_sessions (principal);
CREATE INDEX mcp_sessions_seen ON platform.mcp_sessions ((coalesce(seen_at, created_at)));
COMMENT ON TABLE platform.mcp_sessions IS 'Open sessions of MCP clients; every instance serves every one.';
COMMENT ON COLUMN platform.mcp_sessions.client IS 'The capabilities that the client declared.';
COMMENT ON COLUMN platform.mcp_sessions.seen_at IS 'When it was used last; null until its first use.';

CREATE TABLE platform.mcp_events (
  session text NOT NULL REFERENCES platform.mcp_sessions ON DELETE CASCADE,
  stream text NOT NULL,
  number integer NOT NULL,
  message text NOT NULL,
  last boolean NOT NULL DEFAULT false,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (session, stream, number)
);
CREATE INDEX mcp_events_at ON platform.mcp_events USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE platform.mcp_events IS 'Messages of streams, for clients that come back for what they missed.';
COMMENT ON COLUMN platform.mcp_events.last IS 'True for the answer, after which the stream ends.';

-- Opens a session unless there are too many: the answer is null when it is open, else which cap was met.
-- One at a time, or two servers would both take the last place.
CREATE FUNCTION platform.open_mcp_session(id text, principal text, version text, client text,
  timeout double precision, unused double precision, per_principal integer, in_all integer) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('fluxbase mcp sessions', 0));
  DELETE FROM platform.mcp_sessions s
    WHERE coalesce(s.seen_at, s.created_at) < now() - make_interval(secs => timeout)
       OR s.seen_at IS NULL AND s.created_at < now() - make_interval(secs => least(unused, timeout));
  IF (SELECT count(*) FROM platform.mcp_sessions s WHERE s.principal = $2) >= per_principal THEN
    RETURN 'principal';
  END IF;
  IF (SELECT count(*) FROM platform.mcp_sessions) >= in_all THEN
    RETURN 'all';
  END IF;
  INSERT INTO platform.mcp_sessions (id, principal, version, client) VALUES ($1, $2, $3, $4::json);
  RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION platform.open_mcp_session(text, text, text, text, double precision,
  double precision, integer, integer) FROM PUBLIC;

-- Every instance drops what it remembers of a session that ended or changed.
CREATE FUNCTION platform.notify_mcp_session() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM pg_notify('fluxbase_sessions', json_build_object(
    'kind', CASE TG_OP WHEN 'DELETE' THEN 'ended' ELSE 'changed' END, 'session', OLD.id)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER notify_end AFTER DELETE ON platform.mcp_sessions
  FOR EACH ROW EXECUTE FUNCTION platform.notify_mcp_session();
CREATE TRIGGER notify_change AFTER UPDATE OF log_level, subscriptions ON platform.mcp_sessions
  FOR EACH ROW EXECUTE FUNCTION platform.notify_mcp_session();
REVOKE EXECUTE ON FUNCTION platform.notify_mcp_session() FROM PUBLIC;
