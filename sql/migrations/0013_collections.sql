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
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  source regclass NOT NULL,
  text_column name NOT NULL,
  embedding_column name NOT NULL,
  tags_column name,
  model text,
  dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
  metric text NOT NULL CHECK (metric IN ('cosine', 'l2', 'inner_product', 'l1')),
  index_kind text NOT NULL CHECK (index_kind IN ('hnsw', 'ivfflat', 'none')),
  index_state text NOT NULL DEFAULT 'wanted' CHECK (index_state IN ('wanted', 'stale', 'ready', 'failed')),
  chunk_size integer CHECK (chunk_size > 0),
  chunk_overlap integer NOT NULL DEFAULT 0 CHECK (chunk_overlap >= 0 AND chunk_overlap < coalesce(chunk_size, 1)),
  chunks regclass,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((chunks IS NULL) = (chunk_size IS NULL))
);
COMMENT ON COLUMN vectors.collections.model IS 'What made its vectors; null when clients give them themselves.';
COMMENT ON COLUMN vectors.collections.chunks IS 'The table of the parts that long texts were cut into, with their vectors.';
COMMENT ON COLUMN vectors.collections.index_state IS 'wanted, stale: to be built, or built anew, when nothing waits for its vector.';

CREATE TABLE vectors.queue (
  collection text NOT NULL REFERENCES vectors.collections ON DELETE CASCADE,
  key jsonb NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT now(),
  error text,
  PRIMARY KEY (collection, key)
);
CREATE INDEX queue_next ON vectors.queue (next_at);
COMMENT ON TABLE vectors.queue IS 'Rows whose text has no vector yet, each once; infinity: given up.';
COMMENT ON COLUMN vectors.queue.version IS 'Goes up with each change of the text, so that an older vector does not end its wait.';

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

-- `s."id" = (k.key->>'id')::bigint AND …`: which row of `s` a key means.
CREATE FUNCTION vectors.is_row(source regclass, k text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT string_agg(format('s.%I = (%s.key->>%L)::%s', c, k, c, vectors.type_of(source, c)), ' AND ')
  FROM unnest(vectors.key_of(source)) c
$$;

-- Arguments: the collection, then the columns of the key.
CREATE FUNCTION vectors.enqueue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made jsonb := to_jsonb(NEW);
BEGIN
  INSERT INTO vectors.queue (collection, key)
  SELECT TG_ARGV[0], jsonb_object_agg(c, made->c) FROM unnest(TG_ARGV[1:]) c
  ON CONFLICT (collection, key)
    DO UPDATE SET version = queue.version + 1, attempts = 0, next_at = now(), error = NULL;
  PERFORM pg_notify('fluxbase_embeddings', '');
  RETURN NULL;
END $$;

-- Puts rows into the queue: all of them, or those that have no vector. Returns how many wait now.
CREATE FUNCTION vectors.requeue(which text, every boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections;
  missing text;
  many bigint;
BEGIN
  SELECT * INTO STRICT c FROM vectors.collections WHERE name = which;
  missing := CASE
    WHEN every THEN 'true'
    WHEN c.chunks IS NULL THEN format('s.%I IS NULL', c.embedding_column)
    ELSE (SELECT format('NOT EXISTS (SELECT FROM %s x WHERE %s)', c.chunks,
                        string_agg(format('x.%I = s.%I', k, k), ' AND ')) FROM unnest(vectors.key_of(c.source)) k)
  END;
  EXECUTE format(
    'INSERT INTO vectors.queue (collection, key) '
    'SELECT $1, jsonb_build_object(%s) FROM %s s WHERE s.%I::text <> '''' AND %s '
    'ON CONFLICT (collection, key) '
    'DO UPDATE SET version = queue.version + 1, attempts = 0, next_at = now(), error = NULL',
    (SELECT string_agg(format('%L, s.%I', k, k), ', ') FROM unnest(vectors.key_of(c.source)) k),
    c.source, c.text_column, missing) USING which;
  UPDATE vectors.queue SET attempts = 0, next_at = now(), error = NULL WHERE collection = which AND next_at = 'infinity';
  SELECT count(*) INTO many FROM vectors.queue WHERE collection = which;
  PERFORM pg_notify('fluxbase_embeddings', '');
  RETURN many;
END $$;

-- Makes a collection of a table: its column or table of vectors, its trigger, its first queue.
CREATE FUNCTION vectors.create_collection(spec jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections := jsonb_populate_record(NULL::vectors.collections, spec);
  kind text := CASE WHEN c.dimensions <= 2000 THEN 'vector' ELSE 'halfvec' END;
  keys text[] := vectors.key_of(c.source);
  columns text;
  watched text := format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', c.text_column);
  parts text := c.source::text || '_chunks';
  holder text;
BEGIN
  IF c.chunk_size IS NULL AND vectors.type_of(c.source, c.embedding_column) IS NULL THEN
    EXECUTE format('ALTER TABLE %s ADD COLUMN %I extensions.%s(%s)', c.source, c.embedding_column, kind, c.dimensions);
  END IF;
  IF c.chunk_size IS NOT NULL THEN
    parts := format('%I.%I', spec->>'schema', spec->>'chunk_table');
    SELECT string_agg(format('%I %s NOT NULL', k, vectors.type_of(c.source, k)), ', ') INTO columns FROM unnest(keys) k;
    EXECUTE format(
      'CREATE TABLE %1$s (chunk_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %2$s, position integer NOT NULL, '
      'content text NOT NULL, tags text[], embedding extensions.%3$s(%4$s) NOT NULL, UNIQUE (%5$s, position), '
      'FOREIGN KEY (%5$s) REFERENCES %6$s (%5$s) ON UPDATE CASCADE ON DELETE CASCADE)',
      parts, columns, kind, c.dimensions, (SELECT string_agg(quote_ident(k), ', ') FROM unnest(keys) k), c.source);
    -- Who sees the row sees its parts: the policies of the table are asked for each of them.
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', parts);
    EXECUTE format('CREATE POLICY as_its_source ON %1$s FOR SELECT USING (EXISTS (SELECT FROM %2$s s WHERE %3$s))',
      parts, c.source, (SELECT string_agg(format('s.%1$I = %2$s.%1$I', k, quote_ident(spec->>'chunk_table')), ' AND ')
                        FROM unnest(keys) k));
    FOR holder IN SELECT DISTINCT coalesce(r.rolname::text, '') FROM pg_class t, aclexplode(t.relacl) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE t.oid = c.source AND a.privilege_type = 'SELECT' LOOP
      EXECUTE format('GRANT SELECT ON %s TO %s', parts, CASE holder WHEN '' THEN 'PUBLIC' ELSE quote_ident(holder) END);
    END LOOP;
    c.chunks := parts::regclass;
    IF c.tags_column IS NOT NULL THEN
      watched := watched || format(' OR OLD.%1$I IS DISTINCT FROM NEW.%1$I', c.tags_column);
    END IF;
  ELSE
    -- Who writes text and vector together has embedded it already.
    watched := watched || format(' AND OLD.%1$I::text IS NOT DISTINCT FROM NEW.%1$I::text', c.embedding_column);
  END IF;
  IF c.model IS NOT NULL THEN
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION vectors.enqueue(%s)',
      'embed_new_' || c.name, c.source,
      CASE WHEN c.chunks IS NULL THEN format('NEW.%I IS NULL AND ', c.embedding_column) ELSE '' END
        || format('NEW.%I::text <> ''''', c.text_column),
      (SELECT string_agg(quote_literal(a), ', ') FROM unnest(c.name || keys) a));
    EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION vectors.enqueue(%s)',
      'embed_changed_' || c.name, c.source, watched,
      (SELECT string_agg(quote_literal(a), ', ') FROM unnest(c.name || keys) a));
  END IF;
  INSERT INTO vectors.collections (name, source, text_column, embedding_column, tags_column, model, dimensions,
    metric, index_kind, chunk_size, chunk_overlap, chunks)
  VALUES (c.name, c.source, c.text_column, c.embedding_column, c.tags_column, c.model, c.dimensions, c.metric,
    c.index_kind, c.chunk_size, coalesce(c.chunk_overlap, 0), c.chunks);
  RETURN CASE WHEN c.model IS NULL THEN 0 ELSE vectors.requeue(c.name, false) END;
END $$;

-- Takes the trigger and the parts away; a column of vectors stays with its table.
CREATE FUNCTION vectors.delete_collection(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections;
BEGIN
  DELETE FROM vectors.collections WHERE name = which RETURNING * INTO STRICT c;
  IF EXISTS (SELECT FROM pg_class r WHERE r.oid = c.source) THEN
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'embed_new_' || which, c.source);
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'embed_changed_' || which, c.source);
  END IF;
  IF EXISTS (SELECT FROM pg_class r WHERE r.oid = c.chunks) THEN
    EXECUTE format('DROP TABLE %s', c.chunks);
  END IF;
END $$;

-- Lends the rows of a collection that are due, for some seconds; whoever dies gives them back that way.
CREATE FUNCTION vectors.claim(which text, label text, most integer, seconds float8)
RETURNS TABLE (chunk_size integer, chunk_overlap integer, key jsonb, version bigint, content text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  c vectors.collections;
BEGIN
  SELECT known.* INTO c FROM vectors.collections known WHERE known.name = which AND known.model = label;
  IF c.name IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE format(
    'WITH due AS MATERIALIZED (SELECT q.key FROM vectors.queue q WHERE q.collection = $1 AND q.next_at <= clock_timestamp() '
    'ORDER BY q.next_at LIMIT $2 FOR UPDATE SKIP LOCKED), taken AS (UPDATE vectors.queue q '
    'SET next_at = clock_timestamp() + make_interval(secs => $3) FROM due WHERE q.collection = $1 AND q.key = due.key '
    'RETURNING q.key, q.version) '
    'SELECT $4, $5, k.key, k.version, s.%I::text FROM taken k LEFT JOIN %s s ON %s',
    c.text_column, c.source, vectors.is_row(c.source, 'k')) USING c.name, most, seconds, c.chunk_size, c.chunk_overlap;
END $$;

-- Keeps vectors of rows whose text is still what was embedded; whoever holds a row meanwhile is not waited for.
-- Items: key, version, digest (md5 of the text), and embedding, or chunks: content and embedding of each.
CREATE FUNCTION vectors.store(which text, items jsonb) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c vectors.collections;
  same text;
  done integer := 0;
  item record;
  held boolean;
BEGIN
  SELECT * INTO c FROM vectors.collections WHERE name = which;
  IF c.name IS NULL THEN
    RETURN 0;
  END IF;
  same := vectors.is_row(c.source, 'k') || format(' AND md5(coalesce(s.%I::text, '''')) = k.digest', c.text_column);
  IF c.chunks IS NULL THEN
    EXECUTE format(
      'WITH k AS (SELECT * FROM jsonb_to_recordset($1) AS k(key jsonb, version bigint, digest text, embedding text)), '
      'found AS (SELECT s.tableoid AS part, s.ctid AS place, k.key, k.version, k.embedding FROM k JOIN %1$s s ON %2$s '
      'FOR UPDATE OF s SKIP LOCKED), kept AS (UPDATE %1$s s SET %3$I = f.embedding::extensions.vector::%4$s '
      'FROM found f WHERE s.ctid = f.place AND s.tableoid = f.part RETURNING f.key, f.version) '
      'DELETE FROM vectors.queue q USING kept WHERE q.collection = $2 AND q.key = kept.key AND q.version = kept.version',
      c.source, same, c.embedding_column, vectors.type_of(c.source, c.embedding_column)) USING items, which;
    GET DIAGNOSTICS done = ROW_COUNT;
  ELSE
    FOR item IN SELECT * FROM jsonb_to_recordset(items) AS k(key jsonb, version bigint, digest text, chunks jsonb) LOOP
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
      DELETE FROM vectors.queue q WHERE q.collection = which AND q.key = item.key AND q.version = item.version;
      done := done + 1;
    END LOOP;
  END IF;
  -- Rows that are gone wait for nothing; those that somebody holds are tried again in a moment.
  EXECUTE format(
    'DELETE FROM vectors.queue q USING jsonb_to_recordset($1) AS k(key jsonb, version bigint) '
    'WHERE q.collection = $2 AND q.key = k.key AND q.version = k.version AND NOT EXISTS (SELECT FROM %s s WHERE %s)',
    c.source, vectors.is_row(c.source, 'k')) USING items, which;
  UPDATE vectors.queue q SET next_at = clock_timestamp() + interval '1 second'
  FROM jsonb_to_recordset(items) AS k(key jsonb, version bigint)
  WHERE q.collection = which AND q.key = k.key AND q.version = k.version;
  RETURN done;
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
