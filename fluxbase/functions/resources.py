"""The resource that shows what functions there are."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from fluxbase.functions import registry
from fluxbase.functions.service import Functions
from fluxbase.functions.tools import entry
from fluxbase.toolkit import Context, resource
from fluxbase.toolkit.completion import completer


@resource("fluxbase://functions", scopes=("execute:functions",), title="Functions", untrusted=True)
async def functions(ctx: Context) -> str:
    """List the edge functions the caller may invoke."""
    known = ctx.service(Functions).registry
    found = [asdict(entry(f)) for f in await registry.visible(ctx, known)]
    return orjson.dumps({"functions": found, "count": len(found)}).decode()


@completer("function")
async def function_names(ctx: Context, _given: object) -> list[str]:
    """Complete the names of functions."""
    known = ctx.service(Functions).registry
    return [f.name for f in await registry.visible(ctx, known)]
