-- Files: buckets and objects are rows under row-level security, their bytes are blobs kept elsewhere.
-- migrate:up
CREATE SCHEMA storage;
GRANT USAGE ON SCHEMA storage TO anon, authenticated, service_role;

-- The parts of a path, for policies: `(storage.foldername(name))[1] = (select auth.uid())::text`.
CREATE FUNCTION storage.foldername(name text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
  SELECT (string_to_array(name, '/'))[:array_length(string_to_array(name, '/'), 1) - 1]
$$;
CREATE FUNCTION storage.filename(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
  SELECT (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]
$$;
CREATE FUNCTION storage.extension(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
  SELECT coalesce(substring((string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]
    FROM '\.([^.]+)$'), '')
$$;

CREATE TABLE storage.buckets (
  id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$'),
  owner_id uuid,
  public boolean NOT NULL DEFAULT false,
  max_file_size bigint CHECK (max_file_size > 0),
  allowed_mime_types text[] NOT NULL DEFAULT '{}',
  versioning boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN storage.buckets.public IS 'Anybody may read its objects by their address, without a key.';
COMMENT ON COLUMN storage.buckets.versioning IS 'What is overwritten or deleted is kept in storage.versions.';

-- The bytes. A row is there before the first byte and until after the last, so none is ever lost track of.
CREATE TABLE storage.blobs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'ready', 'doomed')),
  size bigint NOT NULL DEFAULT 0,
  checksum text NOT NULL DEFAULT '',
  upload uuid,
  position bigint,
  expires_at timestamptz,
  changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX blobs_state ON storage.blobs (state, changed_at) WHERE state <> 'ready';
CREATE INDEX blobs_upload ON storage.blobs (upload, position) WHERE upload IS NOT NULL;
COMMENT ON TABLE storage.blobs IS 'pending: being written, until expires_at; ready: of one object or version; doomed: to be deleted.';

CREATE TABLE storage.objects (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  bucket_id text NOT NULL REFERENCES storage.buckets ON UPDATE CASCADE,
  name text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 1024),
  owner_id uuid,
  size bigint NOT NULL,
  content_type text NOT NULL DEFAULT 'application/octet-stream' CHECK (length(content_type) <= 255),
  etag text NOT NULL,
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  blob uuid NOT NULL UNIQUE REFERENCES storage.blobs,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (bucket_id, name)
);
CREATE INDEX objects_owner ON storage.objects (owner_id);

CREATE TABLE storage.versions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  bucket_id text NOT NULL REFERENCES storage.buckets ON UPDATE CASCADE,
  name text COLLATE "C" NOT NULL,
  owner_id uuid,
  size bigint NOT NULL,
  content_type text NOT NULL,
  etag text NOT NULL,
  metadata jsonb NOT NULL,
  blob uuid NOT NULL UNIQUE REFERENCES storage.blobs,
  created_at timestamptz NOT NULL,
  replaced_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX versions_name ON storage.versions (bucket_id, name, replaced_at DESC);
COMMENT ON TABLE storage.versions IS 'What objects of buckets with versioning were before.';

-- Uploads that come in several requests; each request's bytes are a blob of their own until the last.
CREATE TABLE storage.uploads (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  principal text NOT NULL,
  bucket_id text NOT NULL,
  name text NOT NULL,
  size bigint NOT NULL CHECK (size >= 0),
  received bigint NOT NULL DEFAULT 0,
  content_type text NOT NULL,
  metadata text NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX uploads_expires ON storage.uploads (expires_at);

-- Size and etag of an object are those of its bytes, whoever writes the row, and bytes belong to one row.
CREATE FUNCTION storage.attach_blob() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rules storage.buckets;
  bytes storage.blobs;
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.owner_id := coalesce(auth.uid(), NEW.owner_id);
    NEW.created_at := now();
  END IF;
  IF TG_OP = 'INSERT' OR NEW.blob <> OLD.blob THEN
    UPDATE storage.blobs b SET state = 'ready', expires_at = NULL, changed_at = now()
      WHERE b.id = NEW.blob AND b.state = 'pending' AND b.upload IS NULL RETURNING b.* INTO bytes;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'bytes come through the server' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.size := bytes.size;
    NEW.etag := bytes.checksum;
  ELSE
    NEW.size := OLD.size;
    NEW.etag := OLD.etag;
  END IF;
  NEW.updated_at := now();
  SELECT * INTO rules FROM storage.buckets b WHERE b.id = NEW.bucket_id;
  IF NEW.size > rules.max_file_size THEN
    RAISE EXCEPTION 'too large' USING ERRCODE = 'check_violation', CONSTRAINT = 'bucket_max_file_size';
  END IF;
  IF cardinality(rules.allowed_mime_types) > 0
     AND NOT storage.is_allowed(NEW.content_type, rules.allowed_mime_types) THEN
    RAISE EXCEPTION 'type not allowed' USING ERRCODE = 'check_violation', CONSTRAINT = 'bucket_allowed_mime_types';
  END IF;
  RETURN NEW;
END $$;

-- Whether a type is one of `image/png`, `image/*`; parameters such as a charset do not matter.
CREATE FUNCTION storage.is_allowed(content_type text, allowed text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
  SELECT EXISTS (SELECT FROM unnest(allowed) a(kind)
    WHERE lower(btrim(split_part(content_type, ';', 1))) = lower(kind)
       OR right(kind, 2) = '/*' AND starts_with(lower(content_type), lower(left(kind, -1))))
$$;

CREATE FUNCTION storage.release_blob() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.blob = OLD.blob THEN
    RETURN NULL;
  END IF;
  IF TG_TABLE_NAME = 'objects' AND (SELECT b.versioning FROM storage.buckets b WHERE b.id = OLD.bucket_id) THEN
    INSERT INTO storage.versions (bucket_id, name, owner_id, size, content_type, etag, metadata, blob, created_at)
    VALUES (OLD.bucket_id, OLD.name, OLD.owner_id, OLD.size, OLD.content_type, OLD.etag, OLD.metadata, OLD.blob,
            OLD.updated_at);
  ELSE
    UPDATE storage.blobs b SET state = 'doomed', changed_at = now() WHERE b.id = OLD.blob;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER attach_blob BEFORE INSERT OR UPDATE ON storage.objects
  FOR EACH ROW EXECUTE FUNCTION storage.attach_blob();
CREATE TRIGGER release_blob AFTER UPDATE OR DELETE ON storage.objects
  FOR EACH ROW EXECUTE FUNCTION storage.release_blob();
CREATE TRIGGER release_blob AFTER DELETE ON storage.versions
  FOR EACH ROW EXECUTE FUNCTION storage.release_blob();
REVOKE EXECUTE ON FUNCTION storage.attach_blob(), storage.release_blob() FROM PUBLIC;

-- A truncate would leave bytes behind that no trigger hears of.
CREATE FUNCTION storage.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'delete the rows instead' USING ERRCODE = 'feature_not_supported';
END $$;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON storage.objects EXECUTE FUNCTION storage.refuse_truncate();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON storage.versions EXECUTE FUNCTION storage.refuse_truncate();

ALTER TABLE storage.buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.blobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.uploads ENABLE ROW LEVEL SECURITY;

GRANT SELECT ON storage.buckets, storage.objects TO anon, authenticated;
GRANT SELECT ON storage.versions TO authenticated;
GRANT INSERT (bucket_id, name, content_type, metadata, blob), UPDATE (bucket_id, name, content_type, metadata, blob),
  DELETE ON storage.objects TO authenticated;
GRANT DELETE ON storage.versions TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON storage.buckets, storage.objects TO service_role;
GRANT SELECT, DELETE ON storage.versions TO service_role;

-- What holds until an administrator says otherwise: drop or add policies as on any table.
CREATE POLICY "users know the buckets" ON storage.buckets FOR SELECT TO authenticated USING (true);
CREATE POLICY "anybody knows public buckets" ON storage.buckets FOR SELECT TO anon USING (public);
CREATE POLICY "owners do as they like" ON storage.objects FOR ALL TO authenticated
  USING (owner_id = (SELECT auth.uid())) WITH CHECK (owner_id = (SELECT auth.uid()));
CREATE POLICY "anybody reads public buckets" ON storage.objects FOR SELECT TO anon, authenticated
  USING (EXISTS (SELECT FROM storage.buckets b WHERE b.id = bucket_id AND b.public));
CREATE POLICY "owners do as they like" ON storage.versions FOR ALL TO authenticated
  USING (owner_id = (SELECT auth.uid())) WITH CHECK (owner_id = (SELECT auth.uid()));
