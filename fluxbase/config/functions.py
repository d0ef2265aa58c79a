"""The keys of edge functions; it must not know where values come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fluxbase.config.section import Positive, Seconds, Section

_MIB = 1_048_576


class Functions(Section):
    """Edge functions: TypeScript or JavaScript that runs in a sandbox, on Deno."""

    enabled: bool = Field(default=True, description="Offer the tools that invoke functions.")
    sandbox: Literal["bubblewrap", "deno"] = Field(
        default="bubblewrap",
        description="What functions are locked into. `deno` relies on Deno's permissions alone, "
        "for machines without bubblewrap: a function can then read files that the server can "
        "read, by importing them.",
    )
    deno: Path | None = Field(
        default=None, description="The program; unset takes the one of the package `deno`."
    )
    memory: Annotated[int, Field(ge=96 * _MIB)] = Field(
        default=192 * _MIB, description="Most bytes of memory of one process; more ends it."
    )
    total_memory: Annotated[int, Field(ge=96 * _MIB)] = Field(
        default=1536 * _MIB,
        description="Most bytes of memory of all processes of functions of one server process; it "
        "decides how many there may be.",
    )
    cpu_time: Seconds = Field(default=10.0, description="Most processor time of one call.")
    timeout: Seconds = Field(
        default=30.0, description="Time limit of a call whose function says nothing of it."
    )
    concurrency_per_key: Positive = Field(
        default=8, description="Calls of one key at a time, in one server process; more get 429."
    )
    max_request: Positive = Field(default=6 * _MIB, description="Most bytes of a request's body.")
    max_response: Positive = Field(default=6 * _MIB, description="Most bytes of a response's body.")
    max_log: Positive = Field(default=65536, description="Bytes of log kept of one call.")
    max_calls: Positive = Field(
        default=1000, description="Most calls of tools and addresses in one call of a function."
    )
    max_code: Positive = Field(
        default=10 * _MIB, description="Most bytes of a function with all that it imports."
    )
    idle: Seconds = Field(
        default=300.0, description="How long a process waits for another call before it is ended."
    )
    spare: Annotated[int, Field(ge=0, le=16)] = Field(
        default=1, description="Processes started ahead, for functions that have none yet."
    )
    egress: tuple[str, ...] = Field(
        default=(),
        description="Hosts that functions may `fetch` from over https, such as `api.example.com` "
        "or `*.example.com`; none unless listed.",
    )
    cache_dir: Path = Field(
        default=Path(".fluxbase/deno"),
        description="Where packages that functions import are kept; they are only read when a "
        "function is deployed. Relative to the configuration file.",
    )
