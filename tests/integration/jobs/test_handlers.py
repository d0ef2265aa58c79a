"""What handles jobs: procedures, and Python functions that the configuration names."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.config import Config
from fluxbase.errors import ConfigError
from fluxbase.jobs.python import PythonHandlers
from tests.integration.jobs.conftest import Stand, ended, publish, refused, submit, until
from tests.world import USER1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg

    Owner = asyncpg.Connection[asyncpg.Record]

FUNCTIONS = """
CREATE TABLE public.job_notes (n int, by uuid DEFAULT auth.uid());
ALTER TABLE public.job_notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY open ON public.job_notes USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON public.job_notes TO authenticated;
CREATE SEQUENCE public.job_calls;
GRANT ALL ON SEQUENCE public.job_calls TO authenticated;
CREATE FUNCTION public.job_note(n int) RETURNS SETOF job_notes LANGUAGE sql AS $$
  INSERT INTO job_notes (n) VALUES (n) RETURNING * $$;
CREATE FUNCTION public.job_flaky(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO job_notes (n) VALUES (n);
  IF nextval('job_calls') < 3 THEN RAISE serialization_failure; END IF;
  RETURN n; END $$;
CREATE FUNCTION public.job_answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
"""


@pytest.fixture
async def functions(owner: Owner, jobs: Stand) -> AsyncGenerator[None]:
    await owner.execute(FUNCTIONS)
    for name, types in (("job_note", "integer"), ("job_flaky", "integer"), ("job_answer", "")):
        await jobs.service.call(
            "publish_procedure",
            name=name,
            function=f"public.{name}({types})",
            required_roles=["nobody_at_all"],
            read_only=name == "job_answer",
        )
        await publish(jobs, name, handler=f"rpc:default.{name}")
    yield
    await owner.execute(
        "DROP FUNCTION public.job_note, public.job_flaky, public.job_answer;"
        "DROP TABLE public.job_notes; DROP SEQUENCE public.job_calls; DELETE FROM rpc.procedures"
    )


async def test_a_procedure_runs_as_the_caller_whoever_else_may_call_it(
    jobs: Stand, functions: None
) -> None:
    assert (await refused(jobs.one, "invoke_rpc", name="job_note", params={"n": 1})).code
    told = await ended(jobs.one, await submit(jobs.one, "job_note", {"n": 7}))
    assert told["result"] == [{"n": 7, "by": USER1}]
    assert (await ended(jobs.one, await submit(jobs.one, "job_answer")))["result"] == 42
    wrong = await ended(jobs.one, await submit(jobs.one, "job_note", {"m": 7}))
    assert (wrong["status"], wrong["error"]["code"], wrong["retry_count"]) == (
        "failed", "FLX101", 0,
    )  # fmt: skip
    listed = await ended(jobs.one, await submit(jobs.one, "job_note", [1]))
    assert "an object" in listed["error"]["message"]


async def test_a_procedure_s_writes_are_kept_once(
    jobs: Stand, functions: None, owner: Owner
) -> None:
    told = await ended(jobs.one, await submit(jobs.one, "job_flaky", {"n": 1}))
    assert (told["status"], told["retry_count"], told["result"]) == ("completed", 2, 1)
    assert await owner.fetchval("SELECT count(*) FROM job_notes") == 1
    # As if the worker had been killed between the commit and writing down how it ended.
    await owner.execute(
        "UPDATE jobs.jobs SET status = 'failed' WHERE id = $1::uuid", told["job_id"]
    )
    await jobs.one.call("retry_job", job_id=told["job_id"])
    again = await ended(jobs.one, told)
    assert (again["status"], again["result"]) == ("completed", 1)
    assert await owner.fetchval("SELECT count(*) FROM job_notes") == 1


async def test_a_withdrawn_procedure_fails_the_job(jobs: Stand, functions: None) -> None:
    await jobs.service.call("withdraw_procedure", name="job_answer")
    told = await ended(jobs.one, await submit(jobs.one, "job_answer"))
    assert (told["status"], told["error"]["code"]) == ("failed", "FLX207")


async def test_another_server_may_know_the_function(jobs: Stand, owner: Owner) -> None:
    await owner.execute("UPDATE jobs.definitions SET handler = 'python:elsewhere'")
    told = await ended(jobs.one, await submit(jobs.one, "echo"))
    assert (told["error"]["code"], told["retry_count"]) == ("FLX504", 2)


def config(**handlers: str) -> Any:
    return Config.model_validate({"jobs": {"handlers": handlers}}).jobs


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("no_such_module_at_all:f", "no_such_module_at_all cannot be imported (ModuleNotFound"),
        ("tests.integration.jobs.handlers:nothing", "has no function nothing"),
        ("tests.integration.jobs.handlers:NO_FUNCTION", "has no function NO_FUNCTION"),
    ],
)
def test_a_function_that_is_not_there_is_named(function: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PythonHandlers(config(mine=function).handlers).load()
    assert caught.value.message.startswith("jobs.handlers.mine: ")
    assert said in caught.value.message


@pytest.mark.parametrize("function", ["f", "a b:c", ":f", "module:"])
def test_what_names_no_function_is_no_configuration(function: str) -> None:
    with pytest.raises(ValueError, match="module:function is expected"):
        config(mine=function)


def test_modules_are_found_in_their_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "handlers_of_a_folder.py").write_text("def go(job): return job.payload\n")
    PythonHandlers({"go": "handlers_of_a_folder:go"}, tmp_path).load()


CODE = """
export default async (req: Request): Promise<Response> => {
  const { n } = await req.json();
  if (n < 0) return new Response("no", { status: 422 });
  await fluxbase.insert("job_notes", { n });
  return Response.json({ doubled: n * 2, attempt: req.headers.get("x-job-attempt") });
};
"""


async def test_an_edge_function_runs_as_the_caller(
    jobs: Stand, functions: None, owner: Owner
) -> None:
    await jobs.service.call(
        "deploy_function", name="double", code=CODE, required_roles=["nobody_at_all"]
    )
    await publish(jobs, "double", handler="function:double", max_attempts=1)
    told = await ended(jobs.one, await submit(jobs.one, "double", {"n": 4}))
    assert told["result"] == {"doubled": 8, "attempt": "1"}, told
    found = await owner.fetch('SELECT n, "by"::text FROM job_notes')
    assert [tuple(row) for row in found] == [(4, USER1)]
    wrong = await ended(jobs.one, await submit(jobs.one, "double", {"n": -1}))
    assert (wrong["status"], wrong["error"]["code"]) == ("failed", "FLX801")
    assert (
        await refused(jobs.service, "publish_job", name="x", handler="function:x", public=True)
    ).code == "FLX208"
    await jobs.service.call("delete_function", name="double")


async def test_a_thread_that_goes_on_after_the_end_of_its_job_does_nothing_more(
    jobs: Stand, owner: Owner
) -> None:
    await publish(jobs, "stubborn", timeout_seconds=0.1, max_attempts=1)
    told = await ended(jobs.one, await submit(jobs.one, "stubborn"))
    assert told["error"]["code"] == "FLX503"

    async def over() -> bool:
        return f"job {told['job_id']}" not in {thread.name for thread in threading.enumerate()}

    await until(over, "the end of the thread")
    assert await owner.fetchval("SELECT count(*) FROM notes WHERE title = 'too late'") == 0
