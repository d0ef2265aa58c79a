"""Tools that tell and ask their client, for tests of how that travels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.client import Question

_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_READ = ("read:tables",)

waiting: set[Context] = set()  # the calls of `wait` that still run


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool got to know."""

    said: str


@tool(scopes=_READ, title="Steps", read_only=True)
async def steps(
    ctx: Context,
    many: Annotated[int, Field(ge=1)] = 3,
    level: Literal["debug", "info", "warning"] = "info",
) -> Said:
    """Tell of every step."""
    for n in range(many):
        await ctx.client.progress(n + 1, many, f"step {n + 1}")
        await ctx.client.log(level, {"step": n + 1}, "steps")
    return Said("done")


@tool(scopes=_READ, title="Greet", read_only=True)
async def greet(ctx: Context, greeting: str = "Hello") -> Said:
    """Ask for a name and greet it."""
    params: dict[str, Any] = {"message": "Whom?", "requestedSchema": _SCHEMA}
    answers = await ctx.client.ask({"name": Question("elicitation/create", params)}, "asked")
    return Said(f"{greeting} {answers['name']['content']['name']}; {ctx.client.state}")


@tool(scopes=_READ, title="Wait", read_only=True)
async def wait(ctx: Context, seconds: float, hang_up: bool = False) -> Said:
    """Wait, and let the client come back if it is told to."""
    if hang_up:
        await ctx.client.hang_up()
    waiting.add(ctx)
    try:
        await asyncio.sleep(seconds)
    finally:
        waiting.discard(ctx)
    return Said("waited")


@tool(scopes=_READ, title="Region", read_only=True)
async def region(
    ctx: Context,
    where: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> Said:
    """Say a region that a header says too."""
    return Said(where)
