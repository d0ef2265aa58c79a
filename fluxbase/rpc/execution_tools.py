"""The tools that tell of calls of procedures, and end them; they must not begin any."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fluxbase.errors import UnknownProcedure
from fluxbase.rpc.running import Executions
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.json_text import JsonValue

if TYPE_CHECKING:
    from fluxbase.db.types import Record

_RPC = ("execute:rpc",)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDS_IN = 5.0

ExecutionId = Annotated[str, Field(max_length=36, description="As invoke_rpc returned it")]


@dataclass(frozen=True, slots=True)
class Execution:
    """One call of a procedure, and what it gave where that is kept."""

    execution_id: str
    namespace: str
    name: str
    status: str
    error: str | None
    rows_returned: int | None
    started_at: str
    duration_ms: float
    truncated: bool
    data_kept: bool
    data: JsonValue


@tool(scopes=_RPC, title="Get execution of a procedure", read_only=True, untrusted=True)
async def get_rpc_execution(
    ctx: Context,
    execution_id: ExecutionId,
    wait_seconds: Annotated[
        float,
        Field(ge=0, le=60, description="Wait so long for its end, if need be; then ask again"),
    ] = 0,
) -> Execution:
    """Tell how a call of a procedure stands or ended; only of the caller's own calls.

    `status` is running, completed, failed or cancelled. `data` is what a call with `async` gave,
    kept for a day; `data_kept` tells whether there is any.
    """
    return await _told(ctx, execution_id, wait_seconds)


@tool(
    scopes=_RPC,
    title="Cancel execution of a procedure",
    idempotent=True,
    untrusted=True,
    for_readers=True,
)
async def cancel_rpc_execution(ctx: Context, execution_id: ExecutionId) -> Execution:
    """Stop a call that runs in the background; what it changed is taken back.

    `status` tells how it ended: completed, if it was faster. One that has ended stays as it is.
    """
    found = await _told(ctx, execution_id, 0)
    if found.status != "running":
        return found
    ctx.target = f"{found.namespace}.{found.name}"
    await ctx.service(Executions).cancel(execution_id)
    return await _told(ctx, execution_id, _ENDS_IN)


async def _told(ctx: Context, execution: str, seconds: float) -> Execution:
    executions = ctx.service(Executions)
    loop = asyncio.get_running_loop()
    until = loop.time() + min(seconds, executions.longest_wait)
    with executions.watched(execution) as news:
        row = await _find(ctx, execution)
        while row["status"] == "running" and loop.time() < until:
            await executions.news(news, until - loop.time())
            news.clear()  # before one looks: what comes meanwhile is heard
            row = await _find(ctx, execution)
    ctx.rows = row["rows"]
    return Execution(
        row["id"],
        row["namespace"],
        row["name"],
        row["status"],
        row["error"],
        row["rows"],
        row["started_at"],
        row["duration_ms"],
        row["truncated"],
        row["data"] is not None,
        JsonValue(row["data"] or "null"),
    )


async def _find(ctx: Context, execution: str) -> Record:
    rows = await _asked(ctx, execution)
    if rows and rows[0]["lost"]:
        await ctx.service(Executions).settle()
        rows = await _asked(ctx, execution)
    if not rows:
        raise UnknownProcedure("no such execution")
    return rows[0]


async def _asked(ctx: Context, execution: str) -> list[Record]:
    if not _UUID.fullmatch(execution):
        return []
    return await ctx.database.admin(
        "find_execution",
        id=execution,
        holder=None if ctx.who.is_service else ctx.who.owner,
        owner=ctx.who.owner,
        reader=ctx.who.holder,
    )
