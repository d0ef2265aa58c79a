-- add_user(email, password_hash, role, scopes, is_admin)
-- Add a user; no row when the address is taken.
INSERT INTO auth.users (email, password_hash, role, scopes, is_admin) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (lower(email)) DO NOTHING RETURNING id::text

-- list_users() reads
-- Every user without what verifies a password, newest first.
SELECT id::text, email, role::text, scopes, is_admin, created_at, disabled_at, last_login_at
FROM auth.users ORDER BY created_at DESC, id

-- find_login(email) reads
-- The user of an address, with what verifies the password.
SELECT id::text, email, password_hash, disabled_at FROM auth.users WHERE lower(email) = lower($1)

-- lock_user(id_or_email)
-- Find a user by id or address, and keep others from changing it.
SELECT id::text, email, role::text, scopes, is_admin, disabled_at FROM auth.users
WHERE id::text = $1 OR lower(email) = lower($1) FOR UPDATE

-- update_user(id, changes)
-- Change the given fields of a user; a field that is absent from the JSON object stays.
UPDATE auth.users u SET
  email = CASE WHEN c ? 'email' THEN c ->> 'email' ELSE u.email END,
  role = CASE WHEN c ? 'role' THEN c ->> 'role' ELSE u.role END,
  scopes = CASE WHEN c ? 'scopes' THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'scopes')) ELSE u.scopes END,
  is_admin = CASE WHEN c ? 'is_admin' THEN (c ->> 'is_admin')::boolean ELSE u.is_admin END,
  password_hash = CASE WHEN c ? 'password_hash' THEN c ->> 'password_hash' ELSE u.password_hash END,
  disabled_at = CASE WHEN c ? 'disabled' THEN CASE WHEN (c ->> 'disabled')::boolean
    THEN coalesce(u.disabled_at, now()) END ELSE u.disabled_at END
FROM (SELECT $2::text::jsonb AS c) changes
WHERE u.id = $1::text::uuid

-- delete_user(id)
-- Remove a user with all that it granted.
DELETE FROM auth.users WHERE id = $1::text::uuid

-- end_web_sessions(user_id)
-- Log a user out everywhere.
DELETE FROM auth.web_sessions WHERE user_id = $1::text::uuid

-- open_web_session(hash, user_id, seconds)
-- Remember a browser that logged in.
WITH seen AS (UPDATE auth.users SET last_login_at = now() WHERE id = $2::text::uuid)
INSERT INTO auth.web_sessions (hash, user_id, expires_at)
VALUES ($1, $2::text::uuid, now() + make_interval(secs => $3))

-- find_web_session(hash) reads
-- Who is logged in with a cookie.
SELECT u.id::text, u.email, u.role::text, u.scopes, u.is_admin
FROM auth.web_sessions s JOIN auth.users u ON u.id = s.user_id
WHERE s.hash = $1 AND s.expires_at > now() AND u.disabled_at IS NULL

-- close_web_session(hash)
-- Forget a browser.
DELETE FROM auth.web_sessions WHERE hash = $1
