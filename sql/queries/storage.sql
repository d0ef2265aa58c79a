-- find_bucket(id) reads
-- The rules of a bucket, whoever asks.
SELECT id, public, max_file_size, allowed_mime_types, versioning FROM storage.buckets WHERE id = $1

-- list_buckets() reads
-- The buckets that the caller may know of.
SELECT current_user, coalesce((SELECT json_agg(b ORDER BY b.id) FROM (
  SELECT id, id AS name, public, max_file_size, allowed_mime_types, versioning, created_at, updated_at
  FROM storage.buckets) b), '[]')::text AS found

-- get_bucket(id) reads
-- One bucket that the caller may know of.
SELECT current_user, (SELECT to_json(b) FROM (
  SELECT id, id AS name, public, max_file_size, allowed_mime_types, versioning, created_at, updated_at
  FROM storage.buckets WHERE id = $1) b)::text AS found

-- add_bucket(id, public, max_file_size, allowed_mime_types, versioning)
-- Make a bucket as the caller.
WITH added AS (
  INSERT INTO storage.buckets (id, public, max_file_size, allowed_mime_types, versioning, owner_id)
  VALUES ($1, $2, $3, $4, $5, (SELECT auth.uid())) ON CONFLICT DO NOTHING RETURNING id
)
SELECT current_user, (SELECT count(*) FROM added) AS found

-- change_bucket(id, public, size_given, max_file_size, allowed_mime_types, versioning)
-- Change a bucket as the caller; null leaves as it is, but for the size, which null lifts when it is given.
WITH changed AS (
  UPDATE storage.buckets SET public = coalesce($2, public),
    max_file_size = CASE WHEN $3::boolean THEN $4 ELSE max_file_size END,
    allowed_mime_types = coalesce($5, allowed_mime_types), versioning = coalesce($6, versioning), updated_at = now()
  WHERE id = $1 RETURNING id
)
SELECT current_user, (SELECT count(*) FROM changed) AS found

-- delete_bucket(id)
-- Remove an empty bucket as the caller.
WITH deleted AS (DELETE FROM storage.buckets WHERE id = $1 RETURNING id)
SELECT current_user, (SELECT count(*) FROM deleted) AS found

-- delete_objects_of_bucket(id, most)
-- Delete some of a bucket's objects as the caller.
WITH deleted AS (
  DELETE FROM storage.objects WHERE id IN (SELECT id FROM storage.objects WHERE bucket_id = $1 LIMIT $2) RETURNING id
)
SELECT current_user, (SELECT count(*) FROM deleted) AS found

-- delete_versions_of_bucket(id, most)
-- Delete some of a bucket's versions as the caller.
WITH deleted AS (
  DELETE FROM storage.versions WHERE id IN (SELECT id FROM storage.versions WHERE bucket_id = $1 LIMIT $2) RETURNING id
)
SELECT current_user, (SELECT count(*) FROM deleted) AS found

-- find_object(bucket, name) reads
-- One object that the caller may read.
SELECT current_user, (SELECT to_json(o) FROM (
  SELECT id, bucket_id, name, owner_id, size, content_type, etag, metadata, blob, created_at, updated_at
  FROM storage.objects WHERE bucket_id = $1 AND name = $2) o)::text AS found

-- find_version(bucket, name, version) reads
-- One earlier version of an object that the caller may read.
SELECT current_user, (SELECT to_json(o) FROM (
  SELECT id, bucket_id, name, owner_id, size, content_type, etag, metadata, blob, created_at, replaced_at AS updated_at
  FROM storage.versions WHERE bucket_id = $1 AND name = $2 AND id = $3::text::uuid) o)::text AS found

-- list_versions(bucket, name, most) reads
-- The earlier versions of an object that the caller may read, newest first.
SELECT current_user, coalesce((SELECT json_agg(o) FROM (
  SELECT id AS version, size, content_type, etag, created_at, replaced_at
  FROM storage.versions WHERE bucket_id = $1 AND name = $2 ORDER BY replaced_at DESC LIMIT $3) o), '[]')::text AS found

-- list_objects(bucket, prefix, after, most) reads
-- The objects of a bucket that the caller may read, by their names' bytes.
SELECT current_user, coalesce((SELECT json_agg(o) FROM (
  SELECT name AS key, size, content_type, etag, updated_at AS last_modified
  FROM storage.objects
  WHERE bucket_id = $1 AND name >= $2 AND name < $2 || U&'\+10FFFF' AND starts_with(name, $2) AND name > $3
  ORDER BY name LIMIT $4) o), '[]')::text AS found

-- attach_object(bucket, name, blob, content_type, metadata, if_match, if_none_match)
-- Put bytes under a name as the caller, over what it may change there. `if_match`: only over this etag;
-- `if_none_match`: only where nothing is.
WITH mine AS (
  SELECT id, etag FROM storage.objects WHERE bucket_id = $1 AND name = $2 FOR UPDATE
), changed AS (
  UPDATE storage.objects o SET blob = $3::text::uuid, content_type = $4, metadata = $5::text::jsonb
  FROM mine WHERE o.id = mine.id AND NOT $7::boolean AND ($6::text IS NULL OR mine.etag = $6) RETURNING 1
), added AS (
  INSERT INTO storage.objects (bucket_id, name, blob, content_type, metadata)
  SELECT $1, $2, $3::text::uuid, $4, $5::text::jsonb WHERE NOT EXISTS (SELECT FROM mine) AND $6::text IS NULL
  RETURNING 1
)
SELECT current_user, (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM added) AS added

-- move_object(bucket, name, to_bucket, to_name)
-- Give an object another name as the caller.
WITH moved AS (
  UPDATE storage.objects SET bucket_id = $3, name = $4 WHERE bucket_id = $1 AND name = $2 RETURNING 1
)
SELECT current_user, (SELECT count(*) FROM moved) AS found

-- delete_object(bucket, name, if_match)
-- Delete an object as the caller.
WITH deleted AS (
  DELETE FROM storage.objects WHERE bucket_id = $1 AND name = $2 AND ($3::text IS NULL OR etag = $3) RETURNING 1
)
SELECT current_user, (SELECT count(*) FROM deleted) AS found

-- add_blob(upload, seconds)
-- Note bytes that are about to be written.
INSERT INTO storage.blobs (upload, expires_at)
VALUES ($1::text::uuid, now() + make_interval(secs => $2)) RETURNING id::text

-- renew_blob(id, seconds)
-- Say that bytes are still being written.
UPDATE storage.blobs SET expires_at = now() + make_interval(secs => $2) WHERE id = $1::text::uuid AND state = 'pending'

-- seal_blob(id, size, checksum)
-- Note what was written.
UPDATE storage.blobs SET size = $2, checksum = $3, changed_at = now()
WHERE id = $1::text::uuid AND state = 'pending' RETURNING id::text

-- doom_blob(id)
-- Give up bytes that belong to nothing.
UPDATE storage.blobs SET state = 'doomed', changed_at = now() WHERE id = $1::text::uuid AND state = 'pending'

-- doom_expired_blobs()
-- Give up bytes that nobody writes any more.
UPDATE storage.blobs SET state = 'doomed', changed_at = now() WHERE state = 'pending' AND expires_at < now()

-- list_doomed_blobs(age, most) reads
-- Bytes that were given up so many seconds ago.
SELECT id::text FROM storage.blobs WHERE state = 'doomed' AND changed_at < now() - make_interval(secs => $1)
ORDER BY changed_at LIMIT $2

-- delete_blobs(ids)
-- Forget bytes that are deleted.
DELETE FROM storage.blobs WHERE id = ANY ($1::text[]::uuid[]) AND state = 'doomed'

-- known_blobs(ids) reads
-- Which of these bytes are known.
SELECT id::text FROM storage.blobs WHERE id = ANY ($1::text[]::uuid[])

-- list_ready_blobs(after, most) reads
-- Bytes of objects and versions, in the order of their ids.
SELECT id::text, size FROM storage.blobs WHERE state = 'ready' AND id > $1::text::uuid ORDER BY id LIMIT $2

-- add_upload(principal, bucket, name, size, content_type, metadata, seconds)
-- Begin an upload of several requests.
INSERT INTO storage.uploads (principal, bucket_id, name, size, content_type, metadata, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7)) RETURNING id::text, expires_at

-- find_upload(id, principal) reads
-- An upload of the caller's.
SELECT id::text, bucket_id, name, size, received, content_type, metadata, expires_at FROM storage.uploads
WHERE id = $1::text::uuid AND principal = $2 AND expires_at > now()

-- accept_part(blob, upload, received)
-- Count bytes as the next ones of an upload, if so many came before; no row when others were faster.
WITH moved AS (
  UPDATE storage.uploads u SET received = u.received + b.size FROM storage.blobs b
  WHERE u.id = $2::text::uuid AND u.received = $3 AND b.id = $1::text::uuid AND b.state = 'pending'
  RETURNING u.id, u.expires_at
)
UPDATE storage.blobs SET position = $3, expires_at = moved.expires_at FROM moved
WHERE blobs.id = $1::text::uuid RETURNING blobs.id::text

-- list_parts(upload) reads
-- The bytes of an upload, in their order.
SELECT id::text, size FROM storage.blobs
WHERE upload = $1::text::uuid AND state = 'pending' AND position IS NOT NULL ORDER BY position

-- end_upload(id)
-- Forget an upload, and give up the bytes that came with it.
WITH gone AS (DELETE FROM storage.uploads WHERE id = $1::text::uuid RETURNING id)
UPDATE storage.blobs SET state = 'doomed', changed_at = now() FROM gone WHERE upload = gone.id AND state = 'pending'

-- end_expired_uploads()
-- Forget the uploads that were not finished in time.
WITH gone AS (DELETE FROM storage.uploads WHERE expires_at < now() RETURNING id)
UPDATE storage.blobs SET state = 'doomed', changed_at = now() FROM gone WHERE upload = gone.id AND state = 'pending'

-- count_uploads(principal) reads
-- How many uploads a caller has begun and not ended.
SELECT count(*) AS count FROM storage.uploads WHERE principal = $1 AND expires_at > now()
