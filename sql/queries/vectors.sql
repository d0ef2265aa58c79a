-- find_collections(name) reads
-- Collections of tables that are there, one of them when it is named; `waiting` and `failed` count rows.
SELECT c.name, c.source::oid AS source, n.nspname::text AS schema, t.relname::text AS "table",
  c.text_column::text, c.embedding_column::text, c.tags_column::text, c.model, c.dimensions, c.metric, c.index_kind,
  c.index_state, c.chunk_size, c.chunk_overlap, c.chunks::oid AS chunks, p.relname::text AS chunk_table,
  q.waiting, q.failed, CASE WHEN vectors.type_of(c.source, c.text_column) IS NULL OR c.chunks IS NULL
    AND vectors.type_of(c.source, c.embedding_column) IS NULL THEN 'one of its columns is not there any more'
    ELSE q.error END AS error
FROM vectors.collections c JOIN pg_class t ON t.oid = c.source JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_class p ON p.oid = c.chunks
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE q.next_at < 'infinity') AS waiting,
  count(*) FILTER (WHERE q.next_at = 'infinity') AS failed, max(q.error) AS error
  FROM vectors.queue q WHERE q.collection = c.name) q
WHERE $1::text IS NULL OR c.name = $1 ORDER BY c.name

-- collection_of(name) reads
-- What a search in a collection needs to know.
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

-- create_collection(spec, principal)
-- Make a collection, and keep what takes it back; how many rows wait for their vectors.
WITH kept AS (
  INSERT INTO platform.schema_changes (principal, action, target, up, down)
  SELECT $2, 'create_collection', s->>'name', format('SELECT vectors.create_collection(%L);', s::text),
    format('SELECT vectors.delete_collection(%L);', s->>'name') FROM (SELECT $1::text::jsonb) x(s))
SELECT vectors.create_collection($1::text::jsonb) AS waiting

-- delete_collection(name, principal)
-- Take a collection away, with its parts; a column of vectors stays.
WITH kept AS (
  INSERT INTO platform.schema_changes (principal, action, target, up)
  VALUES ($2, 'delete_collection', $1, format('SELECT vectors.delete_collection(%L);', $1::text)))
SELECT vectors.delete_collection($1::text)

-- requeue_collection(name, every)
-- Let rows be embedded: all, or those without a vector; how many.
SELECT vectors.requeue($1, $2) AS waiting

-- due_collections(model) reads
-- The collections of a model with rows that are due, those first that have waited longest.
SELECT q.collection FROM vectors.queue q JOIN vectors.collections c ON c.name = q.collection
WHERE q.next_at <= clock_timestamp() AND c.model = $1 GROUP BY 1 ORDER BY min(q.next_at)

-- claim_texts(collection, model, most, seconds)
-- Lend the texts that are due; whoever does not give them back in time loses them.
SELECT chunk_size, chunk_overlap, key::text, version, content FROM vectors.claim($1, $2, $3, $4)

-- store_vectors(collection, items)
-- Keep what was made of lent texts; how many rows are done.
SELECT vectors.store($1, $2::text::jsonb) AS done

-- return_texts(collection, items, seconds, error, attempts)
-- Give lent texts back: due again after some seconds, or given up after so many attempts (null: never).
UPDATE vectors.queue q SET error = $4, attempts = q.attempts + ($5::int IS NOT NULL)::int,
  next_at = CASE WHEN q.attempts + 1 >= $5::int THEN 'infinity' ELSE clock_timestamp() + make_interval(secs => $3) END
FROM jsonb_to_recordset($2::text::jsonb) AS k(key jsonb, version bigint)
WHERE q.collection = $1 AND q.key = k.key AND q.version = k.version

-- spent_tokens() reads
-- What the model was sent today.
SELECT coalesce(max(tokens), 0) AS tokens FROM vectors.usage WHERE day = (now() AT TIME ZONE 'UTC')::date

-- spend_tokens(tokens)
-- Count what the model was sent.
INSERT INTO vectors.usage (day, tokens) VALUES ((now() AT TIME ZONE 'UTC')::date, $1)
ON CONFLICT (day) DO UPDATE SET tokens = usage.tokens + excluded.tokens

-- wanted_index(collection) reads
-- A collection whose index is to be built and whose rows all have their vectors.
SELECT c.name, n.nspname::text AS schema, t.relname::text AS "table", s.embedding_column::text AS "column",
  ty.typname::text AS kind, c.metric, c.index_kind, c.index_state = 'stale' AS afresh, t.oid,
  vectors.rows_of(t.oid, s.embedding_column) AS rows
FROM vectors.collections c
CROSS JOIN LATERAL (SELECT coalesce(c.chunks, c.source) AS relation,
  CASE WHEN c.chunks IS NULL THEN c.embedding_column ELSE 'embedding' END AS embedding_column) s
JOIN pg_class t ON t.oid = s.relation JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = s.embedding_column JOIN pg_type ty ON ty.oid = a.atttypid
WHERE c.index_state IN ('wanted', 'stale') AND c.index_kind <> 'none' AND ($1::text IS NULL OR c.name = $1)
  AND NOT EXISTS (SELECT FROM vectors.queue q WHERE q.collection = c.name AND q.next_at < 'infinity')
ORDER BY c.name

-- vector_indexes(relation, column) reads
-- The indexes of a column of vectors.
SELECT i.relname::text AS name, am.amname::text AS method, o.opcname::text AS opclass, x.indisvalid AS valid
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
JOIN pg_opclass o ON o.oid = x.indclass[0]
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
WHERE x.indrelid = $1 AND a.attname = $2 AND am.amname IN ('hnsw', 'ivfflat') ORDER BY i.relname

-- set_index_state(name, state)
-- Remember how far the index of a collection is.
UPDATE vectors.collections SET index_state = $2 WHERE name = $1

-- set_model(name, model)
-- Remember what makes the vectors of a collection from now on.
UPDATE vectors.collections SET model = $2 WHERE name = $1
