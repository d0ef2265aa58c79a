-- Collections: tables whose texts get their vectors by themselves, and the queue of what waits for it.
-- migrate:up
CREATE SCHEMA vectors;
GRANT USAGE ON SCHEMA vectors TO service_role;

-- Words that are spelled wrongly are found by their trigrams; without the extension they are not.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')
     AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
    CREATE EXTENSION pg_trgm SCHEMA extensions;
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'pg_trgm is not installed: hybrid search will not forgive wrong spelling';
END $$;

CREATE TABLE vectors.collections (
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,54}$'),
  source regclass NOT NULL,
  text_column name NOT NULL,
  embedding_column name NOT NULL,
  tags_column name,
  model text,
  next_model text,
  dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
  metric text NOT NULL CHECK (metric IN ('cosine', 'l2', 'inner_product', 'l1')),
  index_kind text NOT NULL CHECK (index_kind IN ('hnsw', 'ivfflat', 'none')),
  index_state text NOT NULL DEFAULT 'wanted' CHECK (index_state IN ('wanted', 'stale', 'ready', 'failed')),
  index_name name,
  index_error text,
  chunk_size integer CHECK (chunk_size > 0),
  chunk_overlap integer NOT NULL DEFAULT 0 CHECK (chunk_overlap >= 0 AND chunk_overlap < coalesce(chunk_size, 1)),
  chunks regclass,
  seeding text CHECK (seeding IN ('missing', 'every')),
  seeded_to jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((chunks IS NULL) = (chunk_size IS NULL))
);
-- Two models that write one column would overwrite each other.
CREATE UNIQUE INDEX collections_column ON vectors.collections (source, embedding_column) WHERE chunks IS NULL;
COMMENT ON COLUMN vectors.collections.model IS 'What made its vectors; null when clients give them themselves.';
COMMENT ON COLUMN vectors.collections.next_model IS 'What makes them anew; it takes the place of model when no row waits.';
COMMENT ON COLUMN vectors.collections.chunks IS 'The table of the parts that long texts were cut into, with their vectors.';
COMMENT ON COLUMN vectors.collections.index_state IS 'wanted, stale: to be built, or built anew, when nothing waits for its vector.';
COMMENT ON COLUMN vectors.collections.index_name IS 'The index that was made for it; no other is ever dropped.';
COMMENT ON COLUMN vectors.collections.seeding IS 'Which rows are still to be queued, in slices, behind the key seeded_to.';

CREATE TABLE vectors.queue (
  collection text NOT NULL REFERENCES vectors.collections ON DELETE CASCADE,
  -- A key may be longer than an index takes.
  id uuid GENERATED ALWAYS AS (md5(key::text)::uuid) STORED,
  key jsonb NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT now(),
  error text,
  PRIMARY KEY (collection, id)
);
CREATE INDEX queue_next ON vectors.queue (collection, next_at);
COMMENT ON TABLE vectors.queue IS 'Rows whose text has no vector yet, each once; infinity: given up.';
COMMENT ON COLUMN vectors.queue.version IS 'Goes up with each change of the text, so that a failure of an older one does not count against it.';

CREATE TABLE vectors.usage (
  day date PRIMARY KEY,
  tokens bigint NOT NULL
);
COMMENT ON TABLE vectors.usage IS 'What was sent to the embedding model on each day (UTC).';
GRANT SELECT ON vectors.collections, vectors.queue, vectors.usage TO service_role;

-- Columns of a table's primary key, in its order.
CREATE FUNCTION vectors.key_of(source regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT array_agg(a.attname::text ORDER BY k.place)
  FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY k(number, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
  WHERE i.indrelid = source AND i.indisprimary
$$;

-- A column's type; null when there is no such column.
CREATE FUNCTION vectors.type_of(source regclass, name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
  WHERE a.attrelid = source AND a.attname = name AND NOT a.attisdropped AND a.attnum > 0
$$;

-- `s."id" = (k.key->>'id')::bigint AND …`: which row of `s` the key `k` means.
CREATE FUNCTION vectors.is_row(source regclass, k text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT string_agg(format('s.%I = (%s.key->>%L)::%s', c, k, c, vectors.type_of(source, c)), ' AND ')
  FROM unnest(vectors.key_of(source)) c
$$;

-- The key of the row that a trigger is about, without writing out the rest of it.
CREATE FUNCTION vectors.key_in(source regclass, changed record) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  key jsonb;
BEGIN
  EXECUTE format('SELECT jsonb_build_object(%s)',
    (SELECT string_agg(format('%L, ($1).%I', c, c), ', ') FROM unnest(vectors.key_of(source)) c)) INTO key USING changed;
  RETURN key;
END $$;

-- Argument: the collection.
CREATE FUNCTION vectors.enqueue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO vectors.queue (collection, key) VALUES (TG_ARGV[0], vectors.key_in(TG_RELID, NEW))
  ON CONFLICT (collection, id)
    DO UPDATE SET version = queue.version + 1, attempts = 0, next_at = now(), error = NULL;
  PERFORM pg_notify('fluxbase_embeddings', '');
  RETURN NULL;
END $$;

-- Argument: the collection. Its row was given a vector, so it waits for none.
CREATE FUNCTION vectors.dequeue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM vectors.queue WHERE collection = TG_ARGV[0] AND id = md5(vectors.key_in(TG_RELID, NEW)::text)::uuid;
  RETURN NULL;
END $$;

-- Makes a collection of a table: its column or table of vectors, and its triggers.
CREATE FUNCTION vectors.create_collection(spec jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections := jsonb_populate_record(NULL::vectors.collections, spec);
  kind text := CASE WHEN c.dimensions <= 2000 THEN 'vector' ELSE 'halfvec' END;
  keys text[] := vectors.key_of(c.source);
  other_key text := (SELECT string_agg(format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', k), ' OR ') FROM unnest(keys) k);
  other_text text := format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', c.text_column);
  has_text text := format('NEW.%I::text ~ ''\S''', c.text_column);
  changed text;
  parts text;
  columns text;
  visible text;
  holder text;
BEGIN
  IF c.chunk_size IS NULL THEN
    IF vectors.type_of(c.source, c.embedding_column) IS NULL THEN
      EXECUTE format('ALTER TABLE %s ADD COLUMN %I extensions.%s(%s)', c.source, c.embedding_column, kind, c.dimensions);
    END IF;
    -- Who writes text and vector together has embedded it already; who empties the vector wants another.
    changed := format('(%1$s AND (NEW.%2$I IS NULL OR OLD.%2$I::text IS NOT DISTINCT FROM NEW.%2$I::text)) '
      'OR (NEW.%2$I IS NULL AND %3$s AND (OLD.%2$I IS NOT NULL OR %4$s))', other_text, c.embedding_column, has_text, other_key);
  ELSE
    parts := format('%I.%I', spec->>'schema', spec->>'chunk_table');
    SELECT string_agg(format('%I %s NOT NULL', k, vectors.type_of(c.source, k)), ', ') INTO columns FROM unnest(keys) k;
    EXECUTE format(
      'CREATE TABLE %1$s (chunk_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %2$s, position integer NOT NULL, '
      'content text NOT NULL, tags text[], embedding extensions.%3$s(%4$s) NOT NULL, UNIQUE (%5$s, position), '
      'FOREIGN KEY (%5$s) REFERENCES %6$s (%5$s) ON UPDATE CASCADE ON DELETE CASCADE)',
      parts, columns, kind, c.dimensions, (SELECT string_agg(quote_ident(k), ', ') FROM unnest(keys) k), c.source);
    -- Who sees the row and may read its text sees its parts. The text and the tags are named for their columns'
    -- privileges; a table that loses its row-level security shows no parts any more.
    visible := format('EXISTS (SELECT FROM %s s WHERE %s AND s.%I IS NOT NULL%s)', c.source,
      (SELECT string_agg(format('s.%1$I = %2$I.%1$I', k, spec->>'chunk_table'), ' AND ') FROM unnest(keys) k),
      c.text_column,
      CASE WHEN c.tags_column IS NULL THEN '' ELSE format(' AND (s.%I IS NULL) IS NOT NULL', c.tags_column) END);
    IF (SELECT r.relrowsecurity FROM pg_class r WHERE r.oid = c.source) THEN
      visible := visible || format(' AND (SELECT r.relrowsecurity FROM pg_catalog.pg_class r WHERE r.oid = %L::regclass)',
        c.source::text);
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', parts);
    EXECUTE format('CREATE POLICY as_its_source ON %s FOR SELECT USING (%s)', parts, visible);
    FOR holder IN SELECT DISTINCT coalesce(r.rolname::text, '') FROM pg_class t, aclexplode(t.relacl) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE t.oid = c.source AND a.privilege_type = 'SELECT' LOOP
      EXECUTE format('GRANT SELECT ON %s TO %s', parts, CASE holder WHEN '' THEN 'PUBLIC' ELSE quote_ident(holder) END);
    END LOOP;
    c.chunks := parts::regclass;
    changed := other_text || ' OR ' || other_key;
    IF c.tags_column IS NOT NULL THEN
      changed := changed || format(' OR OLD.%1$I IS DISTINCT FROM NEW.%1$I', c.tags_column);
    END IF;
  END IF;
  IF c.model IS NOT NULL THEN
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION vectors.enqueue(%L)',
      'embed_new_' || c.name, c.source,
      CASE WHEN c.chunks IS NULL THEN format('NEW.%I IS NULL AND ', c.embedding_column) ELSE '' END || has_text, c.name);
    EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION vectors.enqueue(%L)',
      'embed_changed_' || c.name, c.source, changed, c.name);
    IF c.chunks IS NULL THEN
      EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s FOR EACH ROW WHEN (NEW.%3$I IS NOT NULL AND OLD.%3$I::text '
        'IS DISTINCT FROM NEW.%3$I::text AND current_setting(''vectors.filling'', true) IS DISTINCT FROM ''on'') '
        'EXECUTE FUNCTION vectors.dequeue(%4$L)', 'embed_given_' || c.name, c.source, c.embedding_column, c.name);
    END IF;
  END IF;
  INSERT INTO vectors.collections (name, source, text_column, embedding_column, tags_column, model, dimensions,
    metric, index_kind, chunk_size, chunk_overlap, chunks, seeding)
  VALUES (c.name, c.source, c.text_column, c.embedding_column, c.tags_column, c.model, c.dimensions, c.metric,
    c.index_kind, c.chunk_size, coalesce(c.chunk_overlap, 0), c.chunks,
    CASE WHEN c.model IS NOT NULL THEN 'missing' END);
  PERFORM pg_notify('fluxbase_embeddings', '');
END $$;

-- Takes the triggers and the parts away; a column of vectors stays with its table.
CREATE FUNCTION vectors.delete_collection(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections;
BEGIN
  SELECT * INTO STRICT c FROM vectors.collections WHERE name = which;
  IF EXISTS (SELECT FROM pg_class r WHERE r.oid = c.source) THEN
    -- Before anything else is locked: writers take the table first, then the queue.
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', c.source);
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'embed_new_' || which, c.source);
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'embed_changed_' || which, c.source);
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'embed_given_' || which, c.source);
  END IF;
  IF EXISTS (SELECT FROM pg_class r WHERE r.oid = c.chunks) THEN
    EXECUTE format('DROP TABLE %s', c.chunks);
  END IF;
  DELETE FROM vectors.collections WHERE name = which;
END $$;

-- Whether a row of `s` is to be embedded: every one that has a text, or those without a vector.
CREATE FUNCTION vectors.is_wanted(c vectors.collections, every boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT format('s.%I::text ~ ''\S''', c.text_column) || CASE
    WHEN every OR vectors.type_of(c.source, c.embedding_column) IS NULL AND c.chunks IS NULL THEN ''
    WHEN c.chunks IS NULL THEN format(' AND s.%I IS NULL', c.embedding_column)
    ELSE (SELECT format(' AND NOT EXISTS (SELECT FROM %s x WHERE %s)', c.chunks,
                        string_agg(format('x.%1$I = s.%1$I', k), ' AND ')) FROM unnest(vectors.key_of(c.source)) k)
  END
$$;

-- Looks at the next rows of a table, in the order of its key, and queues those that are wanted. Returns whether there are more.
CREATE FUNCTION vectors.seed(which text, most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '400ms' AS $$
DECLARE
  c vectors.collections;
  keys text[];
  last jsonb;
BEGIN
  -- No stronger: whoever writes to the table refers to this row.
  SELECT * INTO c FROM vectors.collections WHERE name = which AND seeding IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED;
  IF c.name IS NULL THEN
    RETURN false;
  END IF;
  keys := vectors.key_of(c.source);
  EXECUTE format(
    'WITH page AS MATERIALIZED (SELECT jsonb_build_object(%1$s) AS key, %2$s AS wanted, row_number() OVER () AS n FROM '
    '(SELECT * FROM %3$s s WHERE $2::jsonb IS NULL OR (%4$s) > (%5$s) ORDER BY %4$s LIMIT $3) s), '
    'kept AS (INSERT INTO vectors.queue (collection, key) SELECT $1, key FROM page WHERE wanted ON CONFLICT DO NOTHING) '
    'SELECT key FROM page ORDER BY n DESC LIMIT 1',
    (SELECT string_agg(format('%L, s.%I', k, k), ', ') FROM unnest(keys) k),
    vectors.is_wanted(c, c.seeding = 'every'), c.source,
    (SELECT string_agg(format('s.%I', k), ', ') FROM unnest(keys) k),
    (SELECT string_agg(format('($2->>%L)::%s', k, vectors.type_of(c.source, k)), ', ') FROM unnest(keys) k))
    INTO last USING which, c.seeded_to, most;
  UPDATE vectors.collections SET seeded_to = last, seeding = CASE WHEN last IS NOT NULL THEN seeding END WHERE name = which;
  PERFORM pg_notify('fluxbase_embeddings', '');
  RETURN last IS NOT NULL;
END $$;

-- Lets rows be embedded again: all, or those without a vector and those given up; by another model only all.
CREATE FUNCTION vectors.reindex(which text, every boolean, label text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE vectors.collections SET seeding = CASE WHEN every THEN 'every' ELSE 'missing' END, seeded_to = NULL,
    index_state = 'stale', index_error = NULL, next_model = CASE WHEN model <> label THEN label END
  WHERE name = which;
  UPDATE vectors.queue q SET attempts = 0, next_at = now(), error = NULL
  FROM (SELECT f.id FROM vectors.queue f WHERE f.collection = which AND f.next_at = 'infinity' FOR UPDATE SKIP LOCKED) f
  WHERE q.collection = which AND q.id = f.id;
  PERFORM pg_notify('fluxbase_embeddings', '');
END $$;

-- How many rows a collection, which need not be made yet, would queue.
CREATE FUNCTION vectors.count_wanted(c vectors.collections, every boolean) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  many bigint;
BEGIN
  IF c.model IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('SELECT count(*) FROM %s s WHERE %s', c.source, vectors.is_wanted(c, every)) INTO many;
  RETURN many;
END $$;

-- Lends the rows of a collection that are due, for some seconds; whoever dies gives them back that way.
CREATE FUNCTION vectors.claim(which text, label text, most integer, seconds float8)
RETURNS TABLE (chunk_size integer, chunk_overlap integer, key jsonb, version bigint, content text, digest text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  c vectors.collections;
BEGIN
  SELECT known.* INTO c FROM vectors.collections known
  WHERE known.name = which AND coalesce(known.next_model, known.model) = label;
  IF c.name IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE format(
    'WITH due AS MATERIALIZED (SELECT q.id FROM vectors.queue q WHERE q.collection = $1 AND q.next_at <= clock_timestamp() '
    'ORDER BY q.next_at LIMIT $2 FOR UPDATE SKIP LOCKED), taken AS (UPDATE vectors.queue q '
    'SET next_at = clock_timestamp() + make_interval(secs => $3) FROM due WHERE q.collection = $1 AND q.id = due.id '
    'RETURNING q.key, q.version) '
    'SELECT $4, $5, k.key, k.version, s.%1$I::text, md5(coalesce(s.%1$I::text, '''')) FROM taken k LEFT JOIN %2$s s ON %3$s',
    c.text_column, c.source, vectors.is_row(c.source, 'k')) USING c.name, most, seconds, c.chunk_size, c.chunk_overlap;
END $$;

-- Keeps vectors of rows whose text is still what was embedded. Nobody is ever waited for: rows that somebody holds,
-- here or in the queue, are due again in a moment.
-- Items: key, digest (md5 of the text), and embedding, or chunks: content and embedding of each.
CREATE FUNCTION vectors.store(which text, label text, items jsonb) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '400ms' AS $$
DECLARE
  c vectors.collections;
  same text;
  done integer := 0;
  mine uuid[];
  item record;
  held boolean;
BEGIN
  SELECT * INTO c FROM vectors.collections WHERE name = which AND coalesce(next_model, model) = label;
  IF c.name IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM set_config('vectors.filling', 'on', true);
  SELECT array_agg(x.id) INTO mine FROM (
    SELECT q.id FROM vectors.queue q JOIN jsonb_to_recordset(items) AS k(key jsonb) ON q.id = md5(k.key::text)::uuid
    WHERE q.collection = which FOR UPDATE OF q SKIP LOCKED) x;
  same := vectors.is_row(c.source, 'k') || format(' AND md5(coalesce(s.%I::text, '''')) = k.digest', c.text_column);
  IF c.chunks IS NULL THEN
    EXECUTE format(
      'WITH k AS (SELECT * FROM jsonb_to_recordset($1) AS k(key jsonb, digest text, embedding text) '
      'WHERE md5(k.key::text)::uuid = ANY ($3)), '
      'found AS (SELECT s.tableoid AS part, s.ctid AS place, k.key, k.embedding FROM k JOIN %1$s s ON %2$s '
      'FOR UPDATE OF s SKIP LOCKED), kept AS (UPDATE %1$s s SET %3$I = f.embedding::extensions.vector::%4$s '
      'FROM found f WHERE s.ctid = f.place AND s.tableoid = f.part RETURNING f.key) '
      'DELETE FROM vectors.queue q USING kept WHERE q.collection = $2 AND q.id = md5(kept.key::text)::uuid',
      c.source, same, c.embedding_column, vectors.type_of(c.source, c.embedding_column)) USING items, which, mine;
    GET DIAGNOSTICS done = ROW_COUNT;
  ELSE
    FOR item IN SELECT * FROM jsonb_to_recordset(items) AS k(key jsonb, digest text, chunks jsonb)
        WHERE md5(k.key::text)::uuid = ANY (mine) LOOP
      EXECUTE format('SELECT true FROM %s s, (SELECT $1::jsonb AS key, $2::text AS digest) k WHERE %s FOR KEY SHARE OF s SKIP LOCKED',
        c.source, same) INTO held USING item.key, item.digest;
      CONTINUE WHEN held IS NULL;
      EXECUTE format('DELETE FROM %s s USING (SELECT $1::jsonb AS key) k WHERE %s', c.chunks,
        (SELECT string_agg(format('s.%1$I = (k.key->>%1$L)::%2$s', p, vectors.type_of(c.source, p)), ' AND ')
         FROM unnest(vectors.key_of(c.source)) p)) USING item.key;
      EXECUTE format(
        'INSERT INTO %1$s (%2$s, position, content, tags, embedding) '
        'SELECT %3$s, p.place, p.part->>''content'', %4$s, (p.part->>''embedding'')::extensions.vector::%5$s '
        'FROM %6$s s, (SELECT $1::jsonb AS key) k, jsonb_array_elements($2) WITH ORDINALITY p(part, place) WHERE %7$s',
        c.chunks, (SELECT string_agg(quote_ident(p), ', ') FROM unnest(vectors.key_of(c.source)) p),
        (SELECT string_agg(format('s.%I', p), ', ') FROM unnest(vectors.key_of(c.source)) p),
        CASE WHEN c.tags_column IS NULL THEN 'NULL' ELSE format('s.%I', c.tags_column) END,
        vectors.type_of(c.chunks, 'embedding'), c.source, vectors.is_row(c.source, 'k')) USING item.key, item.chunks;
      DELETE FROM vectors.queue q WHERE q.collection = which AND q.id = md5(item.key::text)::uuid;
      done := done + 1;
    END LOOP;
  END IF;
  -- A key that does not name the columns of today means no row, which is not the same as a row that is gone.
  EXECUTE format(
    'DELETE FROM vectors.queue q WHERE q.collection = $1 AND q.id = ANY ($2) AND q.key ?& vectors.key_of($3) '
    'AND NOT row_security_active($3::oid) AND NOT EXISTS (SELECT FROM %s s WHERE %s)',
    c.source, vectors.is_row(c.source, 'q')) USING which, mine, c.source;
  UPDATE vectors.queue q SET next_at = 'infinity', error = 'the primary key of the table was changed'
  WHERE q.collection = which AND q.id = ANY (mine) AND NOT q.key ?& vectors.key_of(c.source);
  UPDATE vectors.queue q SET next_at = clock_timestamp() + interval '1 second'
  WHERE q.collection = which AND q.id = ANY (mine) AND q.next_at < 'infinity';
  RETURN done;
END $$;

-- Ends the change to another model: rows that it gave up keep no vector of the old one.
CREATE FUNCTION vectors.adopt(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections;
BEGIN
  SELECT * INTO c FROM vectors.collections WHERE name = which AND next_model IS NOT NULL FOR NO KEY UPDATE;
  IF c.name IS NULL OR c.seeding IS NOT NULL OR EXISTS (SELECT FROM vectors.queue q WHERE q.collection = which AND q.next_at < 'infinity') THEN
    RETURN;
  END IF;
  IF c.chunks IS NULL THEN
    EXECUTE format('UPDATE %s s SET %I = NULL FROM vectors.queue k WHERE k.collection = $1 AND %s',
      c.source, c.embedding_column, vectors.is_row(c.source, 'k')) USING which;
  ELSE
    EXECUTE format('DELETE FROM %s s USING vectors.queue k WHERE k.collection = $1 AND %s', c.chunks,
      (SELECT string_agg(format('s.%1$I = (k.key->>%1$L)::%2$s', p, vectors.type_of(c.source, p)), ' AND ')
       FROM unnest(vectors.key_of(c.source)) p)) USING which;
  END IF;
  UPDATE vectors.collections SET model = next_model, next_model = NULL WHERE name = which;
END $$;

-- How many rows have a vector: counted where they are few, else as the last ANALYZE has it.
CREATE FUNCTION vectors.rows_of(relation regclass, name text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  many bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM (SELECT FROM %s WHERE %I IS NOT NULL LIMIT 100000) x', relation, name) INTO many;
  RETURN greatest(many, (SELECT c.reltuples::bigint FROM pg_class c WHERE c.oid = relation AND many = 100000));
END $$;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA vectors FROM PUBLIC;
