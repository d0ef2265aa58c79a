"""Lets jobs call procedures, each call once however often the job runs; knows no queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fluxbase.errors import InvalidArgument
from fluxbase.rpc import call, procedures
from fluxbase.toolkit.json_text import JsonValue

if TYPE_CHECKING:
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.handlers import Task


class RpcHandler:
    """Calls a procedure as the job's caller; `fluxbase.toolkit.handlers.Handler`."""

    async def check(self, ctx: Context, target: str) -> None:
        """See that a procedure is published under `namespace.name`.

        Raises:
            UnknownProcedure: there is none.
        """
        await procedures.published(ctx, *_named(target))

    async def run(self, ctx: Context, target: str, payload: Any, task: Task) -> JsonValue:
        """Call it with the payload as its parameters, in one transaction under the job's key.

        Raises:
            FluxbaseError: it is not published, a parameter is wrong, or it failed.
        """
        if not isinstance(payload, dict):
            raise InvalidArgument("payload: an object with the procedure's parameters is needed")
        procedure = await procedures.published(ctx, *_named(target))
        params = cast("dict[str, Any]", payload)
        return JsonValue((await call.call(ctx, procedure, params, key=task.key)).given.data)


def _named(target: str) -> tuple[str, str]:
    namespace, dot, name = target.rpartition(".")
    return (namespace if dot else "default"), name
