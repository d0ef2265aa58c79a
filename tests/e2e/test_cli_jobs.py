"""Jobs by the command line, by workers of their own, and by the official client of MCP."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextResourceContents

from tests.e2e.cli_stand import CONFIG, Place, Running, place, wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

pytestmark = pytest.mark.slow

JOBS = """jobs:
  poll: 200ms
  handlers_dir: handlers
  handlers:
    report: reports:report
    stuck: reports:stuck
"""
HANDLERS = """
import asyncio

async def report(job):
    for percent in (20, 40, 60, 80):
        await job.progress(percent, f"page {percent // 20}")
        await asyncio.sleep(job.payload.get("pause", 0.3))
    await job.log("written")
    return {"pages": 4}

def stuck(job):
    raise RuntimeError("a secret")
"""


@pytest.fixture
def here() -> Generator[Place]:
    with place() as made:
        made.configure(CONFIG + JOBS)
        folder = made.folder / "handlers"
        folder.mkdir()
        (folder / "reports.py").write_text(HANDLERS)
        yield made


def key(here: Place, kind: str, *words: str) -> str:
    made = here.run(kind, "create", "--name", "jobs", "-o", "json", *words)
    assert made.code == 0, made.err
    return made.json["key"]


def publish(here: Place, running: Running) -> None:
    headers = {"X-Service-Key": key(here, "servicekeys")}
    for name in ("report", "stuck"):
        wanted = {"name": name, "handler": f"python:{name}", "public": True, "max_attempts": 1}
        url = f"{running.url}/mcp/tools/publish_job"
        answer = httpx2.post(url, json=wanted, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text


@contextmanager
def working(here: Place, *words: str) -> Generator[subprocess.Popen[bytes]]:
    log = here.folder / "worker.txt"
    with log.open("wb") as out:
        command = ["fluxbase", "worker", *words]
        process = subprocess.Popen(command, cwd=here.folder, env=here.env, stdout=out, stderr=out)
    try:
        wait(lambda: "working off" in log.read_text(), "the worker")
        yield process
    finally:
        process.kill()
        process.wait()


def test_jobs_are_submitted_watched_cancelled_and_run_again(here: Place) -> None:
    with here.serving() as running:
        publish(here, running)
        done = here.run("jobs", "submit", "report", "--watch", "-o", "json")
        assert done.code == 0, done.err
        assert (done.json["status"], done.json["result"]) == ("completed", {"pages": 4})
        job = here.run("jobs", "submit", "report", "--payload", '{"pause": 1}', "-o", "json").json
        watched = here.run("jobs", "watch", job["job_id"])
        assert watched.code == 0
        assert "running 80 % page 4" in watched.err
        assert watched.err.splitlines()[-1].startswith("completed 100 %")
        late = here.run("jobs", "submit", "report", "--at", "2999-01-01T00:00:00Z", "-o", "json")
        gone = here.run("jobs", "cancel", late.json["job_id"], "-o", "json")
        assert gone.json["status"] == "cancelled"
        assert here.run("jobs", "retry", late.json["job_id"], "-o", "json").json["status"] in (
            "pending",
            "running",
        )
        failed = here.run("jobs", "submit", "stuck", "--watch")
        assert (failed.code, "the handler raised RuntimeError" in failed.err) == (1, True)
        assert "secret" not in failed.err + failed.out
        listed = here.run("jobs", "list", "--status", "failed", "-o", "json").json
        assert [row["error_code"] for row in listed] == ["FLX801"]
        assert "FLX801" in here.run("jobs", "list").out
        for words in (("watch", "x"), ("cancel", "x"), ("submit", "nothing")):
            wrong = here.run("jobs", *words)
            assert (wrong.code, "No such job" in wrong.err) == (1, True), wrong.err
        assert here.run("jobs", "submit", "report", "--payload", "{").code == 2


def test_on_a_terminal_a_bar_shows_how_far_a_job_is(here: Place) -> None:
    with here.serving() as running:
        publish(here, running)
        master, terminal = pty.openpty()
        process = subprocess.Popen(
            ["fluxbase", "jobs", "submit", "report", "--watch"],
            cwd=here.folder, env=here.env, stdin=terminal, stdout=subprocess.DEVNULL,
            stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # what a terminal says when nobody is at its other end
            pass
        os.close(master)
        assert process.wait(30) == 0, shown
        # Which of them are shown depends on the moment; that it grows to its end does not.
        percents = [int(found) for found in re.findall(rb"(\d+)%", shown)]
        assert percents == sorted(percents)
        assert len({*percents} - {0, 100}) >= 1, shown
        assert percents[-1] == 100


def test_a_worker_shares_the_database_of_a_server(here: Place) -> None:
    here.configure(CONFIG + JOBS + "  run_in_server: false\n")
    with here.serving() as running:
        publish(here, running)
        job = here.run("jobs", "submit", "report", "--payload", '{"pause": 0.1}', "-o", "json").json
        assert job["status"] == "pending"
        with working(here, "--queues", "default,other", "--concurrency", "2") as worker:
            assert here.run("jobs", "watch", job["job_id"], "-o", "json").json["result"]
            long = here.run("jobs", "submit", "report", "--payload", '{"pause": 2.5}', "-o", "json")
            id_ = long.json["job_id"]
            wait(lambda: _status(here, id_) == "running", "a job that runs")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        assert _status(here, id_) == "completed"
    assert "default (2 at a time), other (2 at a time)" in (here.folder / "worker.txt").read_text()


def test_a_worker_starts_a_database_of_its_own_when_none_runs(here: Place) -> None:
    with working(here) as worker:
        assert here.run("jobs", "list", "-o", "json").json == []
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_a_handler_that_is_not_there_is_named_at_the_start(here: Place) -> None:
    here.configure(CONFIG + JOBS + "    gone: reports:gone\n")
    for command in ("serve", "worker"):
        done = here.run(command)
        assert done.code == 2
        assert "jobs.handlers.gone: reports has no function gone" in done.err


def _status(here: Place, job: str) -> str:
    listed = here.run("jobs", "list", "-o", "json").json
    return next(row["status"] for row in listed if row["job_id"] == job)


@asynccontextmanager
async def connected(running: Running, text: str, mode: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers={"X-Client-Key": text}, timeout=30) as http,
        Client(streamable_http_client(f"{running.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_client_hears_of_progress_and_result(here: Place, mode: str) -> None:
    with here.serving() as running:
        publish(here, running)
        text = key(here, "clientkeys", "--scopes", "execute:jobs")
        asyncio.run(_by_the_official_client(running, text, mode))


async def _by_the_official_client(running: Running, text: str, mode: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with connected(running, text, mode) as client:
        arguments: dict[str, Any] = {"job_name": "report", "wait_seconds": 20}
        answer = await client.call_tool("submit_job", arguments, progress_callback=on_progress)
        job = answer.structured_content
        assert job is not None
        assert (job["status"], job["result"]) == ("completed", {"pages": 4})
        assert {20.0, 40.0, 60.0, 80.0} & {progress for progress, _, _ in told}
        assert ("page 2" in {message for _, _, message in told}) or len(told) >= 2
        assert {total for _, total, _ in told} == {100.0}
        read = await client.read_resource(f"fluxbase://jobs/{job['job_id']}")
        [held] = read.contents
        assert isinstance(held, TextResourceContents)
        shown = json.loads(held.text)
        assert (shown["status"], shown["logs"][0]["line"]) == ("completed", "written")
