-- What was changed of the schema through tools, and what takes it back.
-- migrate:up
CREATE TABLE platform.schema_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  principal text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  up text NOT NULL,
  down text
);
COMMENT ON COLUMN platform.schema_changes.down IS 'SQL that takes the change back; null where nothing does.';
GRANT SELECT ON platform.schema_changes TO service_role;
