"""The keys of procedures; it must not know where values come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fluxbase.config.section import Positive, Section


class Rpc(Section):
    """Procedures: calls in the background, and answers that are kept."""

    max_running: Positive = Field(
        default=4,
        description="Calls that one server process runs in the background (`async`) at a time. "
        "They never take more than half of `client_pool_size` or `service_pool_size`.",
    )
    max_running_per_key: Positive = Field(
        default=2, description="And of one key, on all servers together."
    )
    cache_bytes: Annotated[int, Field(ge=0)] = Field(
        default=16_777_216,
        description="Memory of each server process for answers of procedures with "
        "`cache_seconds`; the ones not asked for longest go first. 0 keeps none.",
    )
