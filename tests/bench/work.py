"""The tables of the benchmark and what contestants are asked for; it knows none of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

ROWS: Final = 100_000
EACH: Final = 100  # rows of an ordinary user
KEYS: Final = 200
BIG: Final = 990  # the number of the user whose rows are 1,000
STATUS: Final = "open"
TITLE: Final = "A note to keep"

SCHEMA: Final = f"""
CREATE TABLE public.projects (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id uuid NOT NULL,
  name text NOT NULL
);
CREATE TABLE public.tasks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id uuid NOT NULL,
  status text NOT NULL,
  title text NOT NULL,
  created_at timestamptz NOT NULL,
  project_id bigint NOT NULL REFERENCES public.projects
);
CREATE TABLE public.comments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task_id bigint NOT NULL REFERENCES public.tasks,
  user_id uuid NOT NULL,
  body text NOT NULL
);
-- Only this one is written to; nothing sweeps it while others are measured.
CREATE TABLE public.notes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id uuid NOT NULL DEFAULT auth.uid(),
  title text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_enabled = false);

INSERT INTO public.projects (user_id, name)
SELECT ('00000000-0000-4000-8000-' || lpad((n / 5)::text, 12, '0'))::uuid, 'Project number ' || n
FROM generate_series(0, {5 * (BIG + 1) - 1}) n ORDER BY n;
INSERT INTO public.tasks (user_id, status, title, created_at, project_id)
SELECT ('00000000-0000-4000-8000-' || lpad(owner::text, 12, '0'))::uuid,
  CASE WHEN n % {EACH} < 10 OR owner = {BIG} THEN '{STATUS}' ELSE 'closed' END,
  'Task number ' || n, '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second',
  owner * 5 + n % 5 + 1
FROM (SELECT n, least(n / {EACH}, {BIG}) AS owner FROM generate_series(0, {ROWS - 1}) n) numbered
ORDER BY n;
INSERT INTO public.comments (task_id, user_id, body)
SELECT t.id, t.user_id, 'Comment ' || n || ' on task ' || t.id
FROM public.tasks t, generate_series(1, 3) n WHERE t.status = '{STATUS}' ORDER BY t.id, n;

CREATE INDEX projects_user ON public.projects (user_id);
CREATE INDEX tasks_user ON public.tasks (user_id);
CREATE INDEX tasks_project ON public.tasks (project_id);
CREATE INDEX comments_user ON public.comments (user_id);
CREATE INDEX comments_task ON public.comments (task_id);
CREATE INDEX notes_user ON public.notes (user_id);
ALTER TABLE public.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.comments ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.projects TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY own ON public.tasks TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY own ON public.comments TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY own ON public.notes TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON public.projects, public.tasks, public.comments TO authenticated;
GRANT SELECT, INSERT ON public.notes TO authenticated;
"""
# So that nothing tidies up while the first are measured.
VACUUM: Final = (
    "VACUUM ANALYZE public.projects, public.tasks, public.comments, public.notes, auth.api_keys"
)


class WrongAnswer(Exception):
    """A contestant did not answer with the rows it was asked for."""


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to ask for: as SQL with one parameter, as our tool call, as PostgREST's request.

    What a hand would write stands in `sql`; no contestant but ours checks sizes, tells whether
    there is more, or records the call.
    """

    name: str
    sql: str
    value: str
    tool: str
    arguments: dict[str, Any]
    rest: str
    rows: int

    @property
    def writes(self) -> bool:
        """Whether it changes the database."""
        return self.tool == "insert_record"

    @property
    def sql_json(self) -> str:
        """The same, answered as one JSON text."""
        if self.writes:
            return f"WITH r AS ({self.sql}) SELECT json_agg(r)::text FROM r"
        return f"SELECT coalesce(json_agg(r), '[]')::text FROM ({self.sql}) r"

    def inline(self, statement: str) -> str:
        """Return a statement with its parameter written into it."""
        return statement.replace("$1", f"'{self.value}'")

    def check(self, rows: list[dict[str, Any]], user_id: str) -> None:
        """Refuse rows that are not as many as asked for, or not this user's.

        Raises:
            WrongAnswer: they are not.
        """
        ids = {int(row["id"]) for row in rows}
        if len(rows) != self.rows or len(ids) != self.rows:
            raise WrongAnswer(f"{self.name}: {len(ids)} different rows of {len(rows)}")
        for row in rows:
            self._check_row(row, user_id)

    def _check_row(self, row: dict[str, Any], user_id: str) -> None:
        right = True
        if self is EMBEDDED:
            owner = int(user_id.rpartition("-")[2])
            of_owner = {f"Project number {owner * 5 + n}" for n in range(5)}
            said = {str(comment["body"]) for comment in row["comments"]}
            wanted = {f"Comment {n} on task {row['id']}" for n in (1, 2, 3)}
            right = row["project"]["name"] in of_owner and said == wanted
        elif not self.writes:
            right = row["user_id"] == user_id and row["status"] == STATUS
        if not right:
            raise WrongAnswer(f"{self.name}: a row that was not asked for: {row}")


_COLUMNS: Final = "id, user_id, status, title, created_at, project_id"


def _read(name: str, rows: int) -> Work:
    return Work(
        name,
        f"SELECT {_COLUMNS} FROM public.tasks WHERE status = $1 LIMIT {rows}",
        STATUS,
        "query_table",
        {"table": "tasks", "filter": {"status": f"eq.{STATUS}"}, "limit": rows},
        f"/tasks?status=eq.{STATUS}&limit={rows}",
        rows,
    )


TEN: Final = _read("ten", 10)
THOUSAND: Final = _read("thousand", 1000)
# The same read by free SQL.
FREE: Final = replace(
    TEN,
    name="free",
    tool="execute_sql",
    arguments={"sql": TEN.sql, "params": [STATUS], "description": "Ten open tasks", "limit": 10},
)
INSERT: Final = Work(
    "insert",
    "INSERT INTO public.notes (title) VALUES ($1) RETURNING id",
    TITLE,
    "insert_record",
    {"table": "notes", "data": {"title": TITLE}, "returning": "id"},
    "/notes?select=id",
    1,
)
_EMBED: Final = "id,title,project:projects(name),comments(id,body)"
EMBEDDED: Final = Work(
    "embedded",
    "SELECT t.id, t.title, (SELECT json_build_object('name', p.name) FROM public.projects p "
    "WHERE p.id = t.project_id) AS project, (SELECT coalesce(json_agg(json_build_object("
    "'id', c.id, 'body', c.body)), '[]') FROM public.comments c WHERE c.task_id = t.id) "
    "AS comments FROM public.tasks t WHERE t.status = $1 LIMIT 10",
    STATUS,
    "query_table",
    {"table": "tasks", "select": _EMBED, "filter": {"status": f"eq.{STATUS}"}, "limit": 10},
    f"/tasks?select={_EMBED}&status=eq.{STATUS}&limit=10",
    10,
)
WORKS: Final = {work.name: work for work in (TEN, THOUSAND, INSERT, EMBEDDED)}
