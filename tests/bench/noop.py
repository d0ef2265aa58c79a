"""The job of the benchmark, which does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluxbase.jobs import Job


async def noop(job: Job) -> None:
    """Do nothing."""
    del job
