"""Reads the parameters of a message, and holds headers against them; it must not know methods.

Source: MCP 2026-07-28, Streamable HTTP, custom headers from tool parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxbase.mcp.inbound import decoded
from fluxbase.mcp.wire import HEADER_MISMATCH, INVALID_PARAMS, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.mcp.inbound import Message
    from fluxbase.toolkit.toolbox import Toolbox

_PREFIX = "mcp-param-"


def text(message: Message, name: str) -> str:
    """Return a parameter that must be text.

    Raises:
        ProtocolError: it is not.
    """
    value = message.params.get(name)
    if not isinstance(value, str):
        raise ProtocolError(INVALID_PARAMS, f"'{name}' must be a string")
    return value


def check_header_params(
    toolbox: Toolbox, name: str, arguments: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    """Hold the headers that mirror arguments against the arguments themselves.

    Raises:
        ProtocolError: one is missing, or says something else.
    """
    tool = toolbox.tools.get(name)
    if tool is None or not tool.header_params:
        return
    for argument, token in tool.header_params.items():
        said = headers.get(_PREFIX + token.lower())
        value = arguments.get(argument)
        if value is None and said is None:
            continue
        if said is None or value is None or decoded(said) != _written(value):
            raise ProtocolError(
                HEADER_MISMATCH, f"the header Mcp-Param-{token} differs from '{argument}'"
            )


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
