-- Tells every server that the catalog changed. Only a superuser may create it; where none is at hand
-- the servers compare a fingerprint of the catalog every second instead.
CREATE OR REPLACE FUNCTION platform.notify_catalog() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NOTIFY fluxbase_catalog;
END $$;
DROP EVENT TRIGGER IF EXISTS fluxbase_catalog_changed;
CREATE EVENT TRIGGER fluxbase_catalog_changed ON ddl_command_end
  EXECUTE FUNCTION platform.notify_catalog();
DROP EVENT TRIGGER IF EXISTS fluxbase_catalog_dropped;
CREATE EVENT TRIGGER fluxbase_catalog_dropped ON sql_drop
  EXECUTE FUNCTION platform.notify_catalog();
