-- find_collections(name) reads
-- Collections, one of them when it is named; of one whose table is gone the table has no name.
SELECT c.name, t.oid AS source, n.nspname::text AS schema, t.relname::text AS "table", c.text_column::text,
  c.embedding_column::text, c.tags_column::text, c.model, c.next_model, c.dimensions, c.metric, c.index_kind, c.index_state,
  c.index_error, c.chunk_size, c.chunk_overlap, c.chunks::oid AS chunks, p.relname::text AS chunk_table,
  c.seeding IS NOT NULL AS seeding,
  CASE WHEN t.oid IS NULL OR c.chunks IS NOT NULL AND p.oid IS NULL THEN 'its table is not there any more'
    WHEN vectors.type_of(c.source, c.text_column) IS NULL OR c.chunks IS NULL
      AND vectors.type_of(c.source, c.embedding_column) IS NULL THEN 'one of its columns is not there any more'
  END AS fault
FROM vectors.collections c LEFT JOIN pg_class t ON t.oid = c.source LEFT JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_class p ON p.oid = c.chunks
WHERE $1::text IS NULL OR c.name = $1 ORDER BY c.name

-- count_waiting(name) reads
-- How many rows wait for a vector and were given up, and why one of them, by collection.
SELECT q.collection, count(*) FILTER (WHERE q.next_at < 'infinity') AS waiting,
  count(*) FILTER (WHERE q.next_at = 'infinity') AS failed, max(q.error) AS error
FROM vectors.queue q WHERE $1::text IS NULL OR q.collection = $1 GROUP BY 1

-- collection_of(name) reads
-- What a search in a collection, and a write to it, need to know.
SELECT coalesce(c.chunks, c.source)::oid AS oid, c.source::oid AS source,
  CASE WHEN c.chunks IS NULL THEN c.text_column::text ELSE 'content' END AS text_column,
  CASE WHEN c.chunks IS NULL THEN c.embedding_column::text ELSE 'embedding' END AS embedding_column,
  CASE WHEN c.chunks IS NULL OR c.tags_column IS NULL THEN c.tags_column::text ELSE 'tags' END AS tags_column,
  c.model, c.dimensions, c.metric, c.chunks IS NOT NULL AS chunked, c.text_column::text AS written_column
FROM vectors.collections c JOIN pg_class t ON t.oid = c.source WHERE c.name = $1

-- trigrams() reads
-- The schema of pg_trgm, when callers may look into it.
SELECT n.nspname::text AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_trgm' AND has_schema_privilege('authenticated', n.oid, 'USAGE')

-- sees_all_rows(source) reads
-- Whether the owner's own statements on a table are not cut by row-level security.
SELECT NOT row_security_active($1::oid) AS sees

-- column_users(source, column) reads
-- Collections that keep their vectors in a column.
SELECT c.name FROM vectors.collections c WHERE c.source::oid = $1::oid AND c.embedding_column = $2::text AND c.chunks IS NULL

-- create_collection(spec, principal)
-- Make a collection, and keep what takes it back.
WITH kept AS (
  INSERT INTO platform.schema_changes (principal, action, target, up, down)
  SELECT $2, 'create_collection', s->>'name', format('SELECT vectors.create_collection(%L);', s::text),
    format('SELECT vectors.delete_collection(%L);', s->>'name') FROM (SELECT $1::text::jsonb) x(s))
SELECT vectors.create_collection($1::text::jsonb)

-- count_new(spec) reads
-- How many rows a collection that is to be made would queue.
SELECT vectors.count_wanted(jsonb_populate_record(NULL::vectors.collections, s), (s->>'chunk_size') IS NOT NULL) AS waiting
FROM (SELECT $1::text::jsonb) x(s)

-- count_again(name, every) reads
-- How many rows of a collection would be queued, with those that are queued already.
SELECT vectors.count_wanted(c, $2) AS waiting FROM vectors.collections c WHERE c.name = $1

-- delete_collection(name, principal)
-- Take a collection away, with its parts; a column of vectors stays.
WITH kept AS (
  INSERT INTO platform.schema_changes (principal, action, target, up)
  VALUES ($2, 'delete_collection', $1, format('SELECT vectors.delete_collection(%L);', $1::text)))
SELECT vectors.delete_collection($1::text)

-- reindex_collection(name, every, model)
-- Let rows be embedded: all, or those without a vector.
SELECT vectors.reindex($1, $2, $3)

-- seeding_collections(name) reads
-- Collections of which rows are still to be queued.
SELECT c.name FROM vectors.collections c WHERE c.seeding IS NOT NULL AND ($1::text IS NULL OR c.name = $1)

-- seed_collection(name, most)
-- Queue the next rows of a table; whether there are more.
SELECT vectors.seed($1, $2) AS more

-- due_collections(model) reads
-- The collections of a model with rows that are due.
SELECT c.name FROM vectors.collections c WHERE coalesce(c.next_model, c.model) = $1
  AND EXISTS (SELECT FROM vectors.queue q WHERE q.collection = c.name AND q.next_at <= clock_timestamp())

-- claim_texts(collection, model, most, seconds)
-- Lend the texts that are due; whoever does not give them back in time loses them.
SELECT chunk_size, chunk_overlap, key::text, version, content, digest FROM vectors.claim($1, $2, $3, $4)

-- store_vectors(collection, model, items)
-- Keep what was made of lent texts; how many rows are done.
SELECT vectors.store($1, $2, $3::text::jsonb) AS done

-- return_texts(collection, items, seconds, error, attempts)
-- Give lent texts back: due again after some seconds, or given up after so many attempts (null: never). Those that
-- somebody holds just then are not waited for; their keys and versions are returned.
WITH k AS MATERIALIZED (
  SELECT md5(i.key::text)::uuid AS id, i.key, i.version
  FROM jsonb_to_recordset($2::text::jsonb) AS i(key jsonb, version bigint)),
free AS MATERIALIZED (
  SELECT f.id FROM vectors.queue f JOIN k ON f.id = k.id AND f.version = k.version
  WHERE f.collection = $1 AND f.next_at < 'infinity' FOR UPDATE OF f SKIP LOCKED),
given AS (
  UPDATE vectors.queue q SET error = $4, attempts = q.attempts + ($5::int IS NOT NULL)::int,
    next_at = CASE WHEN q.attempts + 1 >= $5::int THEN 'infinity' ELSE clock_timestamp() + make_interval(secs => $3) END
  FROM free WHERE q.collection = $1 AND q.id = free.id RETURNING q.id)
SELECT jsonb_build_object('key', k.key, 'version', k.version)::text AS held
FROM k JOIN vectors.queue q ON q.id = k.id AND q.version = k.version
WHERE q.collection = $1 AND q.next_at < 'infinity' AND q.id NOT IN (SELECT id FROM given)

-- postpone_collection(name, seconds, error)
-- Let a collection wait whose table is not as it was.
UPDATE vectors.queue q SET error = $3, next_at = clock_timestamp() + make_interval(secs => $2)
FROM (SELECT f.id FROM vectors.queue f WHERE f.collection = $1 AND f.next_at <= clock_timestamp() FOR UPDATE SKIP LOCKED) f
WHERE q.collection = $1 AND q.id = f.id

-- changing_collections() reads
-- Collections that change to another model and have no row waiting.
SELECT c.name FROM vectors.collections c WHERE c.next_model IS NOT NULL AND c.seeding IS NULL
  AND NOT EXISTS (SELECT FROM vectors.queue q WHERE q.collection = c.name AND q.next_at < 'infinity')

-- adopt_model(name)
-- End the change of a collection to another model.
SELECT vectors.adopt($1)

-- spent_tokens() reads
-- What the model was sent today.
SELECT coalesce(max(tokens), 0) AS tokens FROM vectors.usage WHERE day = (now() AT TIME ZONE 'UTC')::date

-- spend_tokens(tokens)
-- Count what the model was sent.
INSERT INTO vectors.usage (day, tokens) VALUES ((now() AT TIME ZONE 'UTC')::date, $1)
ON CONFLICT (day) DO UPDATE SET tokens = usage.tokens + excluded.tokens

-- wanted_index(collection) reads
-- Collections whose index is to be built and whose rows all have their vectors.
SELECT c.name, n.nspname::text AS schema, t.relname::text AS "table", s.embedding_column::text AS "column",
  ty.typname::text AS kind, c.metric, c.index_kind, c.index_state, c.index_name::text, t.oid,
  vectors.rows_of(t.oid, s.embedding_column) AS rows
FROM vectors.collections c
CROSS JOIN LATERAL (SELECT coalesce(c.chunks, c.source) AS relation,
  CASE WHEN c.chunks IS NULL THEN c.embedding_column ELSE 'embedding' END AS embedding_column) s
JOIN pg_class t ON t.oid = s.relation JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = s.embedding_column JOIN pg_type ty ON ty.oid = a.atttypid
WHERE c.index_state IN ('wanted', 'stale') AND c.index_kind <> 'none' AND c.seeding IS NULL
  AND ($1::text IS NULL OR c.name = $1)
  AND NOT EXISTS (SELECT FROM vectors.queue q WHERE q.collection = c.name AND q.next_at < 'infinity')
ORDER BY c.name

-- vector_indexes(relation, column) reads
-- The indexes of a column of vectors.
SELECT i.relname::text AS name, am.amname::text AS method, o.opcname::text AS opclass, x.indisvalid AS valid,
  x.indpred IS NOT NULL AS partial
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
JOIN pg_opclass o ON o.oid = x.indclass[0]
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
WHERE x.indrelid = $1 AND a.attname = $2 AND am.amname IN ('hnsw', 'ivfflat') ORDER BY i.relname

-- is_free_name(schema, name) reads
-- Whether a schema has nothing of a name.
SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1::text AND c.relname = $2::text) AS free

-- name_index(collection, name)
-- Remember which index is the collection's own, before it is built.
UPDATE vectors.collections SET index_name = $2 WHERE name = $1

-- is_still_wanted(name, state, own) reads
-- Whether an index is wanted as it was when it was read; asked by who alone builds it now.
SELECT EXISTS (SELECT FROM vectors.collections
  WHERE name = $1 AND index_state = $2 AND index_name IS NOT DISTINCT FROM $3) AS wanted

-- set_index_state(name, state, error, known)
-- Remember how far the index of a collection is, unless it was asked for anew since its state was read.
UPDATE vectors.collections SET index_state = $2, index_error = $3
WHERE name = $1 AND index_state = $4 AND seeding IS NULL
