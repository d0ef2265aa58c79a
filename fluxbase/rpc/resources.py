"""The resource that shows what procedures there are."""

from __future__ import annotations

import orjson

from fluxbase.rpc import procedures
from fluxbase.rpc.tools import entry
from fluxbase.toolkit import Context, resource


@resource("fluxbase://rpc", scopes=("execute:rpc",), title="Procedures")
async def rpc(ctx: Context) -> str:
    """Show the procedures the caller may call, with what they take and give."""
    found = [entry(p) for p in await procedures.visible(ctx)]
    return orjson.dumps({"procedures": found, "count": len(found)}).decode()
