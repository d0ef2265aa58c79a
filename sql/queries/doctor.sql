-- doctor_facts() reads
-- What the database is and has of what the program needs.
SELECT current_setting('server_version') AS version,
  current_setting('server_version_num')::int AS version_number,
  (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector,
  ARRAY(SELECT r::text FROM unnest(ARRAY['anon', 'authenticated', 'service_role',
          platform.login_name('client')::text, platform.login_name('service')::text]) r
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)) AS missing_roles
