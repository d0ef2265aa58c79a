"""Jobs: work that is done later, by whichever server is free, as who submitted it."""

from fluxbase.jobs.job import Job, SyncJob

__all__ = ["Job", "SyncJob"]
