"""The resource that is one job, for clients that subscribe to it."""

from __future__ import annotations

from fluxbase.errors import UnknownJob, UnknownResource
from fluxbase.jobs import ledger
from fluxbase.toolkit import Context, resource
from fluxbase.toolkit.json_text import write


@resource(
    "fluxbase://jobs/{job_id}",
    scopes=("execute:jobs",),
    title="Job",
    untrusted=True,
    tool="get_job_status",
)
async def job(ctx: Context, job_id: str) -> str:
    """Show one of the caller's jobs: status, progress, result or error, and its last lines."""
    try:
        return write(await ledger.find(ctx, job_id, logs=50)).decode()
    except UnknownJob:
        raise UnknownResource(
            "no such resource", hint="resources/list shows the resources this key may read"
        ) from None
