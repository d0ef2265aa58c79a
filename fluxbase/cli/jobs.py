"""`fluxbase jobs`: what is submitted, how it goes, and what becomes of it, for administrators."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from fluxbase.cli.desk import at_desk, progress
from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import common_options
from fluxbase.errors import FluxbaseError, HandlerFailed, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.jobs.ledger import JobStatus
    from fluxbase.toolkit import Context

_COLUMNS: Final = {
    "job_id": "job",
    "namespace": "namespace",
    "job_name": "name",
    "status": "status",
    "priority": "priority",
    "retry_count": "retries",
    "progress": "progress",
    "error_code": "error",
    "created_at": "created",
}
_STATES: Final = ("pending", "running", "completed", "failed", "cancelled")
_LOOKS: Final = 0.2


@click.group("jobs", short_help="Submit, list, watch, cancel and retry jobs.")
def jobs() -> None:
    """Submit, list, watch, cancel and retry jobs, of all keys, whether a server runs or not.

    \b
    Example:
      fluxbase jobs list --status failed
    """


@jobs.command("list")
@common_options
@output_option
@click.option("--status", type=click.Choice(_STATES), help="Only those.")
@click.option("--namespace", help="Only those of this namespace.")
@click.option("--name", help="Only those of this name.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most of them."
)
def list_(
    style: str, status: str | None, namespace: str | None, name: str | None, limit: int
) -> None:
    """List jobs, the newest first.

    \b
    Example:
      fluxbase jobs list --status failed -o json
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.jobs import ledger  # noqa: PLC0415
        from fluxbase.jobs.tools import entry  # noqa: PLC0415

        found, _ = await ledger.listed(ctx, status, namespace, name, None, limit)
        return [asdict(entry(job)) for job in found]

    show_rows(at_desk("jobs list", {}, work), _COLUMNS, style)


@jobs.command("submit")
@common_options
@output_option
@click.argument("name")
@click.option("--namespace", default="default", show_default=True, help="Its namespace.")
@click.option("--payload", default="{}", help="What its handler takes, as JSON.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher ones run first.")
@click.option("--at", "scheduled_at", metavar="TIME", help="Not before: 2030-01-31T12:00:00Z.")
@click.option("--dedupe-key", help="Make no second one while one with this key waits or runs.")
@click.option("--watch", "watches", is_flag=True, help="Watch it until it has ended.")
def submit(style: str, name: str, payload: str, watches: bool, **more: Any) -> None:
    """Submit a job as an administrator, past row-level security.

    \b
    Example:
      fluxbase jobs submit send_report --payload '{"month": "2030-01"}' --watch
    """
    given = _payload(payload)

    async def work(ctx: Context) -> JobStatus:
        from fluxbase.jobs import ledger  # noqa: PLC0415

        wish = ledger.Wish(
            name=name, payload=given, max_attempts=None, idempotency_key=None, **more
        )
        return await ledger.submit(ctx, wish)

    arguments = {"job_name": name, "payload": given, **more}
    submitted = at_desk("submit_job", arguments, work)
    if watches:
        _watch(submitted.job_id, style)
    else:
        show_one(_shown(submitted), style)


@jobs.command("watch")
@common_options
@output_option
@click.argument("job_id")
def watch(style: str, job_id: str) -> None:
    """Show how far a job is until it has ended: a bar on a terminal, else lines.

    Fails when the job did.

    \b
    Example:
      fluxbase jobs watch 7d0a3c2e-5a52-4f0a-9c57-0a8f2c1f4d11
    """
    _watch(job_id, style)


@jobs.command("cancel")
@common_options
@output_option
@click.argument("job_id")
def cancel(style: str, job_id: str) -> None:
    """Cancel a job that waits or runs.

    \b
    Example:
      fluxbase jobs cancel 7d0a3c2e-5a52-4f0a-9c57-0a8f2c1f4d11
    """
    _change("cancel_job", job_id, style)


@jobs.command("retry")
@common_options
@output_option
@click.argument("job_id")
def retry(style: str, job_id: str) -> None:
    """Run a job again that failed or was cancelled.

    \b
    Example:
      fluxbase jobs retry 7d0a3c2e-5a52-4f0a-9c57-0a8f2c1f4d11
    """
    _change("retry_job", job_id, style)


def _change(action: str, job_id: str, style: str) -> None:
    async def work(ctx: Context) -> JobStatus:
        from fluxbase.jobs import ledger  # noqa: PLC0415

        ways = {"cancel_job": ledger.cancel, "retry_job": ledger.retry}
        return await ways[action](ctx, job_id)

    show_one(_shown(at_desk(action, {"job_id": job_id}, work)), style)


def _watch(job_id: str, style: str) -> None:
    with progress(100, quiet=style != "table") as advance:
        bar = _Bar(advance, quiet=style != "table")
        work = partial(_followed, job_id=job_id, tell=bar.tell)
        job = at_desk("jobs watch", {"job_id": job_id}, work, long=True)
    show_one(_shown(job), style)
    if job.status != "completed":
        told = job.error.message if job.error else "it did not end well"
        raise HandlerFailed(f"the job {job.status}: {told}")


async def _followed(ctx: Context, job_id: str, tell: Callable[[JobStatus], None]) -> JobStatus:
    from fluxbase.jobs import ledger  # noqa: PLC0415

    while True:
        job = await ledger.find(ctx, job_id)
        tell(job)
        if job.ended:
            return job
        await asyncio.sleep(_LOOKS)


class _Bar:
    """Shows how far a job is: on a terminal by the bar, else by a line for each change."""

    def __init__(self, advance: Callable[[int], None], *, quiet: bool) -> None:
        self._advance = advance
        self._quiet = quiet
        self._lines = not sys.stderr.isatty()
        self._at = 0
        self._told = ""

    def tell(self, job: JobStatus) -> None:
        """Show the job as it is now."""
        percent = round(job.progress or 0)
        if percent != self._at:
            self._advance(percent - self._at)
            self._at = percent
        line = f"{job.status} {percent} % {job.message or ''}".rstrip()
        if self._lines and not self._quiet and line != self._told:
            self._told = line
            click.echo(line, err=True)


def _shown(job: JobStatus) -> dict[str, Any]:
    shown = asdict(job)
    shown["result"] = orjson.loads(job.result.encode()) if job.result is not None else None
    return {k: v for k, v in shown.items() if k not in ("logs", "deduplicated") and v is not None}


def _payload(text: str) -> Any:
    from fluxbase.strict_json import loads  # noqa: PLC0415

    try:
        return loads(text.encode())
    except FluxbaseError:
        raise InvalidArgument("--payload: JSON is expected") from None


common_options(jobs)
