"""The keys of background jobs; it must not know where values come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator

from fluxbase.config.duration import Duration
from fluxbase.config.section import Positive, Seconds, Section

_QUEUE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
Slots = Annotated[int, Field(ge=1, le=1000)]


class Jobs(Section):
    """Background jobs."""

    enabled: bool = Field(default=True, description="Whether there are jobs at all.")
    run_in_server: bool = Field(
        default=True,
        description="Run jobs in the processes that serve; else `fluxbase worker` alone does.",
    )
    queues: dict[str, Slots] = Field(
        default_factory=lambda: {"default": 4},
        description="Queues that are worked off, each with how many of its jobs one process runs "
        "at a time.",
    )
    handlers: dict[str, str] = Field(
        default_factory=dict,
        description="Python functions that jobs may be handled by, `name: module:function`; a job "
        "is published with `python:name`.",
    )
    handlers_dir: Path | None = Field(
        default=None,
        description="Folder in which the modules of `handlers` are looked for, before the "
        "installed ones.",
    )
    max_running_per_key: Positive | None = Field(
        default=None, description="Most jobs of one key that run at once, on all servers together."
    )
    max_pending_per_key: Positive = Field(
        default=10_000, description="Most jobs of one key that wait; further ones are refused."
    )
    max_payload: Positive = Field(
        default=262_144, description="Most bytes of a job's payload, as JSON."
    )
    max_result: Positive = Field(
        default=1_048_576, description="Most bytes of a job's result, as JSON."
    )
    lease: Annotated[Duration, Field(ge=1, le=3600)] = Field(
        default=30.0,
        description="For how long a worker has a job without a sign of life; then another one "
        "runs it again.",
    )
    poll: Annotated[Duration, Field(ge=0.1, le=60)] = Field(
        default=5.0, description="How often workers look for jobs that nothing told them of."
    )
    backoff: Seconds = Field(
        default=2.0,
        description="Longest pause before the second attempt; it doubles with each, up to 1h. The "
        "pause is a random part of it.",
    )
    retention: Seconds = Field(
        default=7 * 86400.0, description="Age at which jobs that ended are deleted."
    )

    @field_validator("queues")
    @classmethod
    def _queues(cls, value: dict[str, int]) -> dict[str, int]:
        if not all(_QUEUE.fullmatch(name) for name in value):
            raise ValueError("names of queues have small letters, digits, '_' and '-'")
        return value

    @field_validator("handlers")
    @classmethod
    def _handlers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, function in value.items():
            if not _NAME.fullmatch(name):
                raise ValueError("names of handlers have letters, digits, '_' and '-'")
            if not _FUNCTION.fullmatch(function):
                raise ValueError(f"{name}: module:function is expected")
        return value
