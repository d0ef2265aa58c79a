-- lock_demo()
-- Let one process at a time put the demo data in; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('fluxbase demo'))

-- demo_state() reads
-- Whether the demo data was put in, and which tables of others stand where it would go.
SELECT to_regclass('platform.demo') IS NOT NULL AS installed,
  ARRAY(SELECT 'public.' || t FROM unnest(ARRAY['users', 'projects', 'todos']) t
        WHERE to_regclass('public.' || t) IS NOT NULL) AS taken
