-- News of grants names the user, so that only streams of that user look at their credential again.
-- migrate:up
CREATE OR REPLACE FUNCTION auth.notify_grant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF TG_TABLE_NAME = 'users' THEN
    PERFORM pg_notify('fluxbase_grants', OLD.id::text);
  ELSE
    PERFORM pg_notify('fluxbase_grants', OLD.user_id::text);
  END IF;
  RETURN NULL;
END $$;
