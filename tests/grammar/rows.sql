-- Two tenants' rows. Tenant 1 has the ids from 1 to 99, tenant 2 those from 101 on; no id of the one
-- may ever come out for the other, except where a row points across (it names what it cannot read).
SET search_path = grammar, extensions;

INSERT INTO currencies VALUES ('EUR', 'Euro', 1), ('USD', 'Dollar', 1.0825), ('XAU', 'Gold', NULL);

CREATE TEMP TABLE tenant AS SELECT * FROM (VALUES
  ('00000000-0000-4000-8000-000000000001'::uuid, 0, 'one'),
  ('00000000-0000-4000-8000-000000000002'::uuid, 100, 'two')) t(owner, base, mark);

INSERT INTO users
SELECT base + n, owner, 'user' || base + n || '@example.com', first, last, born, settings
FROM tenant, (VALUES
  (1, 'Alpha', 'North', '1980-02-29'::date, '{"theme": "dark", "sizes": [10, 12], "mail": {"daily": true, "hour": 7}}'::jsonb),
  (2, 'Beta', 'South', '1991-12-31', '{"theme": "light", "sizes": [], "mail": {"daily": false, "hour": 18}}'),
  (3, 'Gamma', 'West', NULL, '{"theme": null}'),
  (4, 'Delta', NULL, '2001-01-01', NULL)) v(n, first, last, born, settings)
WHERE base = 0 OR n < 4;

INSERT INTO profiles SELECT base + n, owner, bio || ' ' || mark, points
FROM tenant, (VALUES (1, 'Likes maps,', 30), (2, 'Reads (a lot) "daily"', NULL)) v(n, bio, points);
INSERT INTO badges SELECT base + n, owner, CASE WHEN n < 3 THEN base + 3 - n END, 'B' || base + n
FROM tenant, generate_series(1, 3) n;

INSERT INTO addresses SELECT base + n, owner, street, city
FROM tenant, (VALUES (1, 'High Street 1', 'Ghent'), (2, 'Low Road 22', 'Lyon'), (3, 'Mill Lane 333', NULL)) v(n, street, city);

INSERT INTO orders
SELECT base + n, owner, base + who, base + bill, base + ship, currency, total + base, quantity, paid, placed, details
FROM tenant, (VALUES
  (1, 1, 1, 2, 'EUR', 120.50, 2, true, '2026-01-05'::date, '{"tax": 20.1, "lines": [{"sku": "a-1", "n": 1}, {"sku": "b-2", "n": 5}]}'::jsonb),
  (2, 1, 1, 1, 'USD', 80.00, 1, false, '2026-01-05', '{"tax": 8, "gift": true}'),
  (3, 2, 2, 3, 'EUR', 42.42, 7, true, '2026-02-10', '{"tax": null}'),
  (4, 2, 3, NULL, 'XAU', 999.99, NULL, NULL, '2026-03-01', NULL),
  (5, 3, NULL, NULL, NULL, NULL, 3, false, NULL, '[]'),
  (6, NULL, 2, 2, 'EUR', 0.01, 2, true, '2026-02-10', '{"tax": 0.5, "lines": []}'))
  v(n, who, bill, ship, currency, total, quantity, paid, placed, details)
WHERE base = 0 OR n < 5;

INSERT INTO clients SELECT base + n, owner, name, country, credit + base, vip, since
FROM tenant, (VALUES
  (1, 'Acorn Works', 'BE', 1000.00, true, '2020-01-15'::date),
  (2, 'Birch, Beech & Co', 'FR', 250.50, false, '2021-06-30'),
  (3, 'Cedar "Gold" (Ltd)', NULL, NULL, NULL, NULL),
  (4, 'dogwood', 'BE', -10.00, true, '2023-11-01'),
  (5, 'Élan 100%_sure', 'DE', 0.00, false, '2019-03-03')) v(n, name, country, credit, vip, since)
WHERE base = 0 OR n < 4;

INSERT INTO projects SELECT base + n, owner, base + client, name, budget, active, starts, meta
FROM tenant, (VALUES
  (1, 1, 'Atlas', 5000.00, true, '2026-01-01T08:00:00Z'::timestamptz, '{"stage": "build", "team": {"lead": "Alpha", "size": 3}, "tags": ["x", "y"]}'::jsonb),
  (2, 1, 'Borealis', 1200.50, false, '2026-02-01T12:30:00+02', '{"stage": "plan", "team": {"lead": "Beta", "size": 10}, "tags": []}'),
  (3, 2, 'Comet', NULL, true, NULL, '{"stage": "done", "odd key": 1, "a.b": "dot"}'),
  (4, 4, 'Drift', 0.00, NULL, '2025-12-31T23:59:59.999Z', NULL),
  (5, NULL, 'Echo', 310.00, true, '2026-03-15T00:00:00Z', '{"stage": null}')) v(n, client, name, budget, active, starts, meta)
WHERE base = 0 OR n < 5 AND n <> 4;

INSERT INTO tasks SELECT base + n, owner, base + project, base + parent, base + who, name, prio::priority, progress, hours, due, labels
FROM tenant, (VALUES
  (1, 1, NULL, 1, 'Draw the plan', 'high', 100, 12.50, '2026-01-10T10:00:00Z'::timestamptz, ARRAY['plan', 'first']),
  (2, 1, 1, 2, 'Check the plan', 'normal', 50, 3.00, '2026-01-12T10:00:00Z', ARRAY['plan']),
  (3, 1, 1, NULL, 'Print the plan', 'low', 0, NULL, NULL, '{}'),
  (4, 2, NULL, 2, 'Find people', 'urgent', 10, 40.25, '2026-02-20T08:00:00Z', ARRAY['people', 'a,b', 'say "x"']),
  (5, 3, 4, 3, 'Land', NULL, NULL, 0.00, NULL, NULL),
  (6, NULL, NULL, NULL, 'Loose end', 'normal', 75, 1.75, '2026-05-01T00:00:00Z', ARRAY['first', NULL])) v(n, project, parent, who, name, prio, progress, hours, due, labels)
WHERE base = 0 OR n < 6;

INSERT INTO comments SELECT base + n, owner, base + task, base + author, body || ' (' || mark || ')', likes
FROM tenant, (VALUES
  (1, 1, 1, 'Looks good', 3), (2, 1, 2, 'Not so fast', 0), (3, 1, 1, 'Done', NULL),
  (4, 2, 2, 'Checked, twice', 5), (5, 4, 3, 'Who?', 1), (6, NULL, NULL, 'Lost', 2)) v(n, task, author, body, likes);
-- Rows that point at the other tenant's: a comment of tenant 1 by a user of tenant 2, and the reverse on a task.
INSERT INTO comments SELECT 7, owner, 2, 101, 'By a stranger', 9 FROM tenant WHERE base = 0;
INSERT INTO comments SELECT 108, owner, 1, 101, 'On a task of somebody else', 9 FROM tenant WHERE base = 100;

INSERT INTO tags SELECT base + n, owner, name, color
FROM tenant, (VALUES (1, 'bug', 'red'), (2, 'wish', 'green'), (3, 'later', NULL), (4, 'unused', 'grey')) v(n, name, color);
INSERT INTO task_tags SELECT base + task, base + tag, owner, note
FROM tenant, (VALUES (1, 1, 'found'), (1, 2, NULL), (2, 2, 'maybe'), (4, 1, NULL), (4, 2, 'yes'), (4, 3, 'not now')) v(task, tag, note);
INSERT INTO watchers SELECT base + task, base + who, owner
FROM tenant, (VALUES (1, 2), (1, 3), (2, 1), (4, 1), (5, 2)) v(task, who);

INSERT INTO rooms SELECT CASE base WHEN 0 THEN building ELSE 'Z' || building END, number, owner, seats
FROM tenant, (VALUES ('A', 1, 4), ('A', 2, 12), ('B', 1, NULL)) v(building, number, seats);
INSERT INTO bookings
SELECT base + n, owner, CASE base WHEN 0 THEN building ELSE 'Z' || building END, room,
  seats::int4range, price::numrange, during::tsrange, days::daterange, slots::int4multirange
FROM tenant, (VALUES
  (1, 'A', 1, '[1,5)', '[10.5,20.5]', '["2026-01-01 10:00","2026-01-01 12:00")', '[2026-01-01,2026-01-03)', '{[1,3),[5,8)}'),
  (2, 'A', 2, '[5,10)', '(20.5,30)', '["2026-01-01 12:00","2026-01-02 12:00")', '[2026-01-03,2026-02-01)', '{[8,9)}'),
  (3, 'A', 1, '[20,)', '[0,)', NULL, '[2026-06-01,)', '{}'),
  (4, NULL, NULL, 'empty', NULL, '[2026-03-01 00:00,2026-03-02 00:00]', '(,2025-12-31)', '{[0,100)}'),
  (5, 'B', 1, NULL, '[5,6)', NULL, NULL, NULL)) v(n, building, room, seats, price, during, days, slots);

INSERT INTO documents
SELECT base + n, owner, title, body, to_tsvector('english', body), raw::json, data::jsonb, kept::place, words, scores,
  size, ratio, weight, ('10000000-0000-4000-8000-' || lpad((base + n)::text, 12, '0'))::uuid, opened, lasted, bytes, address
FROM tenant, (VALUES
  (1, 'The cats', 'Two fat cats sat on the mat, and ate the rats.', '{"kind": "tale", "pages": 12, "nested": {"deep": {"er": [1, 2, {"est": "yes"}]}}}',
    '{"kind": "tale", "pages": 12, "price": 9.50, "list": [1, 2, 3], "nested": {"deep": {"er": [1, 2, {"est": "yes"}]}}, "on": true}',
    '("High Street",7,51.05000)', ARRAY['cat', 'mat'], ARRAY[1, 2, 3], 9007199254740993, 0.1, 1.5, '08:30'::time, '1 day 02:00'::interval, '\xdeadbeef'::bytea, '10.0.0.1'::inet),
  (2, 'A dog, "Rex"', 'The dog runs faster than any cat.', '{"kind": "note", "pages": 1}', '{"kind": "note", "pages": 1, "price": 10, "list": [], "on": false}',
    '("Low, Road",22,45.75000)', ARRAY['dog', 'a,b', 'c"d'], ARRAY[3, 4], -5, 2.5e10, -0.25, '23:59:59.5', '-3 hours', NULL, '192.168.1.0/24'),
  (3, 'Empty', '', '[]', '{}', NULL, '{}', '{}', 0, 'NaN', 'Infinity', NULL, NULL, '\x', NULL),
  (4, NULL, NULL, NULL, 'null', '(,,)', NULL, ARRAY[NULL, 7], NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, 'back\slash (x) 50%', 'French words: amusant, les chats mangent.', '"text"', '[{"n": 1}, {"n": 2}]', '("",0,0)', ARRAY['NULL', ''], ARRAY[0], 1, 1, 1, '00:00', '1 mon', NULL, '::1'))
  v(n, title, body, raw, data, kept, words, scores, size, ratio, weight, opened, lasted, bytes, address);

INSERT INTO "Weird Name" SELECT base + n, owner, ab, spaced, comma, paren, hi, u, sel, up, col, base + task
FROM tenant, (VALUES
  (1, 'dot', 'a b', 1, 10, 'ho', 'ü', 'from', 'X', 'c:1', 1),
  (2, 'dot.dot', NULL, 2, NULL, '"quoted"', '☃', 'where', 'y', 'c:2', 2),
  (3, NULL, 'c,d', 3, 30, NULL, NULL, NULL, NULL, NULL, NULL)) v(n, ab, spaced, comma, paren, hi, u, sel, up, col, task);
INSERT INTO letters SELECT base + n, owner, n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9,
  n + 10, n + 11, n + 12, n + 13, n + 14, n + 15, n + 16, n + 17, n + 18, n + 19, n + 20, CASE WHEN n > 1 THEN base + 1 END
FROM tenant, generate_series(1, 3) n;
INSERT INTO readings SELECT base + n, owner, base + 1 + n % 3, n * 1.5 FROM tenant, generate_series(1, 5) n;
INSERT INTO staff SELECT base + n, owner, 'Staff ' || base + n, 1000 * n, base + n FROM tenant, generate_series(1, 2) n;
INSERT INTO paints SELECT base + n, owner, n * 65793 FROM tenant, generate_series(1, 3) n;
INSERT INTO vault SELECT base + 1, owner, base + 1, 'closed' FROM tenant;
DROP TABLE tenant;
