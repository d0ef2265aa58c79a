"""Asks a person before a call that can overwrite or delete; it must not know what any tool does.

It guards against a model's mistakes, not against a client that lies: whoever cannot be asked, or
answers by itself, goes on with what its key allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from fluxbase.errors import Forbidden
from fluxbase.strict_json import dumps
from fluxbase.toolkit.client import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.principal import Confirm
    from fluxbase.toolkit.context import Context
    from fluxbase.toolkit.tool import Tool

_SHOWN: Final = 1000
_ASKED: Final = "elicitation"
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "confirm": {
            "type": "boolean",
            "title": "Go on",
            "description": "Whether the call may be made",
            "default": False,
        }
    },
    "required": ["confirm"],
}


class Declined(Forbidden):
    """The person who was asked did not let the call go on; nothing was changed."""

    title = "The call was not confirmed"


async def confirm(
    ctx: Context, tool: Tool, arguments: Mapping[str, Any], configured: Confirm
) -> None:
    """Ask before a destructive call, where the key wants it and its client can be asked.

    Raises:
        Declined: the person said no, or did not say yes.
    """
    if not tool.destructive or (ctx.who.confirm or configured) != "destructive":
        return
    if arguments.get("dry_run") is True or not ctx.client.can(_ASKED):
        return
    if tool.for_readers and arguments.get("write") is not True:
        return
    words = dumps(arguments).decode()
    shown = words if len(words) <= _SHOWN else words[:_SHOWN] + " …"
    message = f"{tool.title}: may the assistant call {tool.name} with these arguments?\n{shown}"
    params = {"message": message, "requestedSchema": _SCHEMA}
    answers = await ctx.client.ask({"confirm": Question("elicitation/create", params)})
    answer = answers["confirm"]
    given = answer.get("content")
    content = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    agreed = content.get("confirm") is True
    if answer.get("action") != "accept" or not agreed:
        raise Declined(
            "the person who was asked did not confirm the call; nothing was changed",
            hint="ask what to do instead; dry_run shows what a call would change",
        )
