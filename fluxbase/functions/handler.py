"""Lets jobs be done by functions; it must not know where jobs come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import HandlerFailed, UnknownFunction
from fluxbase.functions import invoke
from fluxbase.functions.service import Functions
from fluxbase.functions.tools import shown
from fluxbase.toolkit.json_text import JsonValue, write

if TYPE_CHECKING:
    from fluxbase.functions.registry import Function
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.handlers import Task

_FAILED: Final = 400


class FunctionHandler:
    """Runs `namespace.name` with the payload as its body; an answer of 400 or more has failed."""

    async def check(self, ctx: Context, target: str) -> None:
        """See that there is such a function.

        Raises:
            UnknownFunction: there is none.
        """
        await _find(ctx, target)

    async def run(self, ctx: Context, target: str, payload: Any, task: Task) -> JsonValue:
        """Return what the function answers.

        Raises:
            FluxbaseError: it failed.
        """
        functions = ctx.service(Functions)
        function = await _find(ctx, target)
        headers = (
            ("content-type", "application/json"),
            ("x-job-id", task.id),
            ("x-job-attempt", str(task.attempt)),
        )
        url = f"http://localhost/{function.name}"
        asked = invoke.Asked("POST", url, headers, write(payload), payload)
        done = await invoke.invoke(
            ctx, functions, function, asked, seconds=task.timeout, report=task.report, log=task.log
        )
        if done.status >= _FAILED:
            raise HandlerFailed(f"the function answered with status {done.status}")
        return shown(done)[0]


async def _find(ctx: Context, target: str) -> Function:
    namespace, dot, name = target.partition(".")
    key = (namespace, name) if dot else ("default", namespace)
    found = (await ctx.service(Functions).registry.all()).get(key)
    if found is None:
        raise UnknownFunction
    return found
