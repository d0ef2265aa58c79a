-- load_secrets(namespace) reads
-- The secrets of a namespace as they are sealed, those of every namespace first.
SELECT namespace, name, pepper, nonce, sealed FROM functions.secrets
WHERE namespace IN ('*', $1) ORDER BY namespace <> '*', name

-- list_secrets(namespace) reads
-- What secrets there are, in one namespace or in all, without what they say.
SELECT namespace, name, set_by, updated_at::text FROM functions.secrets
WHERE $1::text IS NULL OR namespace = $1 ORDER BY namespace, name

-- set_secret(namespace, name, pepper, nonce, sealed, by, most)
-- Keep a secret in place of the one of its name; nothing comes back when there are as many as may be.
INSERT INTO functions.secrets AS s (namespace, name, pepper, nonce, sealed, set_by)
SELECT $1::text, $2::text, $3, $4, $5, $6
WHERE (SELECT count(*) FROM functions.secrets k WHERE k.namespace = $1 AND k.name <> $2) < $7
ON CONFLICT (namespace, name) DO UPDATE SET pepper = excluded.pepper, nonce = excluded.nonce,
  sealed = excluded.sealed, set_by = excluded.set_by, updated_at = now()
RETURNING (xmax <> 0) AS known

-- delete_secret(namespace, name)
-- Forget a secret.
DELETE FROM functions.secrets WHERE namespace = $1 AND name = $2 RETURNING name

-- lock_secrets()
-- Every secret as it is sealed, kept from others until the end of the transaction.
SELECT namespace, name, pepper, nonce, sealed FROM functions.secrets ORDER BY namespace, name FOR UPDATE

-- seal_secret(namespace, name, pepper, nonce, sealed)
-- Keep a secret sealed anew; what it says is the same.
UPDATE functions.secrets SET pepper = $3, nonce = $4, sealed = $5 WHERE namespace = $1 AND name = $2
