-- add_client(id, name, redirect_uris, auth_method, secret_mac, registered_by, most)
-- Keep a client; no row when as many as may have registered themselves.
INSERT INTO auth.oauth_clients (id, name, redirect_uris, auth_method, secret_mac, registered_by)
SELECT $1, $2, $3, $4, $5, $6
WHERE $6 = 'administrator' OR (SELECT count(*) FROM auth.oauth_clients WHERE registered_by = 'itself') < $7
RETURNING id

-- make_room_for_client(most)
-- Drop the oldest clients that registered themselves and were never used, when there are too many.
DELETE FROM auth.oauth_clients WHERE id IN (
  SELECT id FROM auth.oauth_clients
  WHERE registered_by = 'itself' AND used_at IS NULL AND created_at < now() - interval '1 hour'
    AND (SELECT count(*) FROM auth.oauth_clients WHERE registered_by = 'itself') >= $1
  ORDER BY created_at LIMIT 100)

-- find_client(id) reads
-- One client with what verifies its secret.
SELECT id, name, redirect_uris, auth_method, secret_mac, registered_by FROM auth.oauth_clients WHERE id = $1

-- list_clients() reads
-- Every client that is kept, newest first.
SELECT id, name, redirect_uris, auth_method, registered_by, created_at, used_at
FROM auth.oauth_clients ORDER BY created_at DESC, id

-- delete_client(id)
-- Remove a client, and end what was granted to it.
WITH ended AS (
  UPDATE auth.oauth_grants SET revoked_at = now(), revoked_because = 'the client was deleted'
  WHERE client_id = $1 AND revoked_at IS NULL
)
DELETE FROM auth.oauth_clients WHERE id = $1 RETURNING id

-- add_grant(user_id, client_id, client_name, client_host, scopes, resource, code_hash, redirect_uri, challenge, seconds)
-- Keep a user's yes, with the code by which the client takes it.
WITH seen AS (UPDATE auth.oauth_clients SET used_at = now() WHERE id = $2),
given AS (
  INSERT INTO auth.oauth_grants (user_id, client_id, client_name, client_host, scopes, resource)
  VALUES ($1::text::uuid, $2, $3, $4, $5, $6) RETURNING id
)
INSERT INTO auth.oauth_codes (hash, grant_id, redirect_uri, challenge, expires_at)
SELECT $7, given.id, $8, $9, now() + make_interval(secs => $10) FROM given RETURNING grant_id::text

-- claim_code(hash)
-- Use a code up; of many who try at once one gets the row.
UPDATE auth.oauth_codes c SET used_at = now()
FROM auth.oauth_grants g, auth.users u
WHERE c.hash = $1 AND c.used_at IS NULL AND c.expires_at > now()
  AND g.id = c.grant_id AND g.revoked_at IS NULL AND u.id = g.user_id AND u.disabled_at IS NULL
RETURNING g.id::text AS grant_id, g.client_id, g.scopes, g.resource, c.redirect_uri, c.challenge,
  u.id::text AS user_id, u.email, u.role::text

-- end_family_of_code(hash)
-- End everything that came of a code which is used again.
UPDATE auth.oauth_grants g SET revoked_at = now(), revoked_because = 'its code was used twice'
FROM auth.oauth_codes c
WHERE c.hash = $1 AND c.used_at IS NOT NULL AND g.id = c.grant_id AND g.revoked_at IS NULL
RETURNING g.id::text

-- add_refresh_token(hash, grant_id, scopes, seconds)
-- Keep a refresh token.
INSERT INTO auth.oauth_refresh_tokens (hash, grant_id, scopes, expires_at)
VALUES ($1, $2::text::uuid, $3, now() + make_interval(secs => $4))

-- claim_refresh_token(hash)
-- Use a refresh token up; of many who try at once one gets the row.
UPDATE auth.oauth_refresh_tokens r SET used_at = now()
FROM auth.oauth_grants g, auth.users u
WHERE r.hash = $1 AND r.used_at IS NULL AND r.expires_at > now()
  AND g.id = r.grant_id AND g.revoked_at IS NULL AND u.id = g.user_id AND u.disabled_at IS NULL
RETURNING g.id::text AS grant_id, g.client_id, r.scopes, g.resource, u.id::text AS user_id, u.email,
  u.role::text

-- end_family_of_refresh_token(hash)
-- End everything that came of a refresh token which is used again.
UPDATE auth.oauth_grants g SET revoked_at = now(), revoked_because = 'a refresh token was used twice'
FROM auth.oauth_refresh_tokens r
WHERE r.hash = $1 AND r.used_at IS NOT NULL AND g.id = r.grant_id AND g.revoked_at IS NULL
RETURNING g.id::text

-- find_refresh_token(hash) reads
-- What a refresh token is good for.
SELECT g.id::text AS grant_id, g.client_id, r.scopes, g.resource, g.user_id::text, r.expires_at
FROM auth.oauth_refresh_tokens r JOIN auth.oauth_grants g ON g.id = r.grant_id
WHERE r.hash = $1 AND r.used_at IS NULL AND r.expires_at > now() AND g.revoked_at IS NULL

-- find_grant(id) reads
-- A grant that holds, and its user.
SELECT g.id::text, g.client_id, g.scopes, g.resource, u.id::text AS user_id, u.email, u.role::text,
  u.scopes AS user_scopes,
  coalesce((SELECT rolconfig FROM pg_roles WHERE rolname = u.role), '{}') AS settings
FROM auth.oauth_grants g JOIN auth.users u ON u.id = g.user_id
WHERE g.id = $1::text::uuid AND g.revoked_at IS NULL AND u.disabled_at IS NULL

-- list_grants(user_id) reads
-- What a user has granted and not taken back, newest first.
SELECT id::text, client_id, client_name, client_host, scopes, created_at, used_at
FROM auth.oauth_grants WHERE user_id = $1::text::uuid AND revoked_at IS NULL
  AND EXISTS (SELECT FROM auth.oauth_codes c WHERE c.grant_id = oauth_grants.id AND c.used_at IS NOT NULL)
ORDER BY created_at DESC

-- revoke_grant(id, user_id, because)
-- End a grant of a user's; of anybody's when no user is named.
UPDATE auth.oauth_grants SET revoked_at = now(), revoked_because = $3
WHERE id = $1::text::uuid AND revoked_at IS NULL AND ($2::text IS NULL OR user_id = $2::text::uuid)
RETURNING id::text

-- touch_grants(ids)
-- Note that grants were used.
UPDATE auth.oauth_grants SET used_at = now() WHERE id = ANY ($1::text[]::uuid[])

-- prune_oauth()
-- Delete what nobody can use any more.
WITH codes AS (DELETE FROM auth.oauth_codes WHERE expires_at < now() - interval '1 day'),
sessions AS (DELETE FROM auth.web_sessions WHERE expires_at < now()),
tokens AS (DELETE FROM auth.oauth_refresh_tokens WHERE expires_at < now() - interval '1 day'),
clients AS (DELETE FROM auth.oauth_clients
  WHERE registered_by = 'itself' AND coalesce(used_at, created_at) < now() - interval '30 days')
DELETE FROM auth.oauth_grants WHERE revoked_at < now() - interval '90 days'
