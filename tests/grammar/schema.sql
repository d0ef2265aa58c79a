-- The schema that the grammar's cases are asked of: every kind of column and of relation that a
-- request can name, each table with two tenants' rows under row-level security (rows.sql).
CREATE SCHEMA grammar;
SET search_path = grammar, extensions;

CREATE TYPE priority AS ENUM ('low', 'normal', 'high', 'urgent');
CREATE TYPE place AS (street text, number int, lat numeric(8, 5));
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN short_text AS text CHECK (length(VALUE) < 40);

CREATE TABLE currencies (code text PRIMARY KEY, name text NOT NULL, rate numeric(10, 4));

CREATE TABLE users (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  email text UNIQUE,
  first_name text,
  last_name text,
  born date,
  settings jsonb
);

-- One to one: the primary key is the reference.
CREATE TABLE profiles (
  user_id int PRIMARY KEY CONSTRAINT profiles_user REFERENCES users,
  owner uuid NOT NULL,
  bio text,
  points int
);

-- One to one by a unique column.
CREATE TABLE badges (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  holder_id int UNIQUE CONSTRAINT badges_holder REFERENCES users,
  code text NOT NULL
);

CREATE TABLE addresses (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  street text NOT NULL,
  city text
);

-- Two references to one table: which one is meant must be said.
CREATE TABLE orders (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  user_id int CONSTRAINT orders_user REFERENCES users,
  billing_address_id int CONSTRAINT orders_billing REFERENCES addresses,
  shipping_address_id int CONSTRAINT orders_shipping REFERENCES addresses,
  currency text CONSTRAINT orders_currency REFERENCES currencies,
  total numeric(12, 2),
  quantity int,
  paid boolean,
  placed_on date,
  details jsonb
);

CREATE TABLE clients (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  name text NOT NULL,
  country text,
  credit numeric(12, 2),
  vip boolean,
  since date
);

CREATE TABLE projects (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  client_id int CONSTRAINT projects_client REFERENCES clients,
  name text NOT NULL,
  budget numeric(12, 2),
  active boolean,
  starts timestamptz,
  meta jsonb
);

CREATE TABLE tasks (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  project_id int CONSTRAINT tasks_project REFERENCES projects,
  parent_id int CONSTRAINT tasks_parent REFERENCES tasks,
  assignee_id int CONSTRAINT tasks_assignee REFERENCES users,
  name text NOT NULL,
  priority priority,
  progress percent,
  hours numeric(6, 2),
  due timestamptz,
  labels text[]
);

CREATE TABLE comments (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  task_id int CONSTRAINT comments_task REFERENCES tasks,
  author_id int CONSTRAINT comments_author REFERENCES users,
  body text NOT NULL,
  likes int
);

CREATE TABLE tags (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  name short_text NOT NULL,
  color text
);

CREATE TABLE task_tags (
  task_id int CONSTRAINT task_tags_task REFERENCES tasks,
  tag_id int CONSTRAINT task_tags_tag REFERENCES tags,
  owner uuid NOT NULL,
  note text,
  PRIMARY KEY (task_id, tag_id)
);

-- A second way between tasks and users, beside the assignee.
CREATE TABLE watchers (
  task_id int CONSTRAINT watchers_task REFERENCES tasks,
  user_id int CONSTRAINT watchers_user REFERENCES users,
  owner uuid NOT NULL,
  PRIMARY KEY (task_id, user_id)
);

CREATE TABLE rooms (
  building text,
  number int,
  owner uuid NOT NULL,
  seats int,
  PRIMARY KEY (building, number)
);

CREATE TABLE bookings (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  building text,
  room_number int,
  seats int4range,
  price numrange,
  during tsrange,
  days daterange,
  slots int4multirange,
  CONSTRAINT bookings_room FOREIGN KEY (building, room_number) REFERENCES rooms (building, number)
);

CREATE TABLE documents (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  title text,
  body text,
  search tsvector,
  raw json,
  data jsonb,
  kept_at place,
  words text[],
  scores int[],
  size bigint,
  ratio double precision,
  weight real,
  code uuid,
  opened time,
  lasted interval,
  bytes bytea,
  address inet
);

-- Names that a request has to quote.
CREATE TABLE "Weird Name" (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  "a.b" text,
  "with space" text,
  "comma,col" int,
  "par(en)" int,
  "say ""hi""" text,
  "über" text,
  "select" text,
  "UPPER" text,
  "colon:col" text,
  task_id int CONSTRAINT "Weird fk" REFERENCES tasks
);

-- Columns named as people name things within SQL; none may be taken for what somebody else meant.
CREATE TABLE letters (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  r int, x int, j int, k int, n int, t int, s int, q int, a int, b int,
  row int, value int, key int, count int, total int, rows int, c0 int, k0 int, t0 int, t1 int,
  letters int,
  above_id int CONSTRAINT letters_above REFERENCES letters
);

-- Not every column may be read.
CREATE TABLE staff (
  id int PRIMARY KEY,
  owner uuid NOT NULL,
  name text,
  salary int,
  client_id int CONSTRAINT staff_client REFERENCES clients
);

-- A domain with a form of its own for the outside.
CREATE DOMAIN hue AS int;
CREATE TABLE paints (id int PRIMARY KEY, owner uuid NOT NULL, hue hue);
CREATE FUNCTION hue_shown(hue) RETURNS json LANGUAGE sql IMMUTABLE
  AS $$ SELECT to_json('#' || lpad(to_hex($1), 6, '0')) $$;
CREATE FUNCTION hue_read(text) RETURNS hue LANGUAGE sql IMMUTABLE
  AS $$ SELECT ('x' || lpad(trim(leading '#' FROM $1), 8, '0'))::bit(32)::int::hue $$;
SET client_min_messages = error; -- Postgres says that it will not use such casts itself
CREATE CAST (hue AS json) WITH FUNCTION hue_shown(hue) AS IMPLICIT;
CREATE CAST (text AS hue) WITH FUNCTION hue_read(text) AS IMPLICIT;
RESET client_min_messages;

-- Nothing of it may be read; the caller does not know that it is there.
CREATE TABLE vault (id int PRIMARY KEY, owner uuid NOT NULL, client_id int REFERENCES clients, code text);

-- In parts, of which none is asked for by itself.
CREATE TABLE readings (
  id int,
  owner uuid NOT NULL,
  client_id int CONSTRAINT readings_client REFERENCES clients,
  value numeric(8, 2),
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE readings_low PARTITION OF readings FOR VALUES FROM (0) TO (3);
CREATE TABLE readings_high PARTITION OF readings FOR VALUES FROM (3) TO (1000);

CREATE VIEW project_overview WITH (security_invoker = true) AS
  SELECT p.id, p.name AS project_name, p.budget, p.client_id, c.name AS client_name, c.country
  FROM projects p LEFT JOIN clients c ON c.id = p.client_id;
CREATE VIEW open_tasks WITH (security_invoker = true) AS
  SELECT id, project_id, assignee_id AS who, name, priority FROM tasks WHERE progress < 100;
CREATE VIEW urgent_tasks WITH (security_invoker = true) AS
  SELECT id, project_id, name FROM open_tasks WHERE priority >= 'high';

CREATE VIEW order_summary WITH (security_invoker = true) AS
  SELECT o.id AS order_id, o.total, o.billing_address_id AS bill, o.shipping_address_id AS ship, u.id AS buyer
  FROM orders o LEFT JOIN users u ON u.id = o.user_id;
CREATE VIEW booked_rooms WITH (security_invoker = true) AS
  SELECT b.id, b.building AS house, b.room_number AS door, r.seats FROM bookings b
  LEFT JOIN rooms r ON r.building = b.building AND r.number = b.room_number;
CREATE VIEW client_budgets WITH (security_invoker = true) AS
  SELECT client_id, sum(budget) AS budget FROM projects GROUP BY client_id;
CREATE VIEW subtasks WITH (security_invoker = true) AS
  SELECT t.id, t.name, t.parent_id, p.name AS parent_name FROM tasks t JOIN tasks p ON p.id = t.parent_id;
CREATE VIEW nested_clients WITH (security_invoker = true) AS
  SELECT x.id, x.name FROM (SELECT id, name FROM clients) x;
CREATE VIEW all_names WITH (security_invoker = true) AS
  SELECT id, name FROM clients UNION ALL SELECT id, name FROM projects;

CREATE FUNCTION full_name(users) RETURNS text LANGUAGE sql STABLE
  AS $$ SELECT $1.first_name || ' ' || $1.last_name $$;
CREATE FUNCTION finished(tasks) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT $1.progress = 100 $$;
CREATE FUNCTION project_count(clients) RETURNS bigint LANGUAGE sql STABLE
  AS $$ SELECT count(*) FROM grammar.projects p WHERE p.client_id = $1.id $$;
CREATE FUNCTION initials(users) RETURNS text[] LANGUAGE sql STABLE
  AS $$ SELECT ARRAY[left($1.first_name, 1), left($1.last_name, 1)] $$;
-- A relation that a function gives.
CREATE FUNCTION latest_comment(tasks) RETURNS SETOF comments ROWS 1 LANGUAGE sql STABLE
  AS $$ SELECT * FROM grammar.comments c WHERE c.task_id = $1.id ORDER BY c.id DESC LIMIT 1 $$;

DO $$
DECLARE
  name text;
BEGIN
  FOR name IN SELECT relname FROM pg_class
    WHERE relnamespace = 'grammar'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'currencies'
  LOOP
    EXECUTE format('ALTER TABLE grammar.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY own ON grammar.%I TO authenticated'
      ' USING (owner = (SELECT auth.uid())) WITH CHECK (owner = (SELECT auth.uid()))', name);
  END LOOP;
END $$;
ALTER TABLE currencies ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON currencies FOR SELECT USING (true);

GRANT USAGE ON SCHEMA grammar TO authenticated, service_role;
GRANT SELECT ON ALL TABLES IN SCHEMA grammar TO authenticated;
REVOKE ALL ON vault, staff FROM authenticated;
GRANT SELECT (id, owner, name, client_id) ON staff TO authenticated;
