"""The keys of free SQL; it must not know where values come from."""

from __future__ import annotations

from pydantic import Field

from fluxbase.config.section import Positive, Section


class Sql(Section):
    """Free SQL (`execute_sql`), for keys with the scope `execute:sql`."""

    enabled: bool = Field(default=True, description="Offer the tools that run SQL.")
    max_cost: Positive = Field(
        default=1_000_000,
        description="Highest cost, as EXPLAIN estimates it, of a statement that is run.",
    )
