"""Reads what a client wants completed; it must not know what completes it.

Source: MCP 2025-11-25, server utilities, completion.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from fluxbase.mcp.wire import INVALID_PARAMS, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.principal import Principal
    from fluxbase.toolkit.toolbox import Toolbox

_VARIABLE: Final = re.compile(r"\{\+?(\w+)\}")


class Asked(NamedTuple):
    """An argument, the word so far, and the other arguments as far as they are known."""

    argument: str
    word: str
    given: Mapping[str, str]


def read_completion(params: Mapping[str, Any], toolbox: Toolbox, who: Principal) -> Asked | None:
    """Return what is asked; `None` when the caller has nothing that takes this argument.

    Raises:
        ProtocolError: it is not well formed.
    """
    argument = _object(params, "argument")
    name, word = argument.get("name"), argument.get("value")
    if not isinstance(name, str) or not isinstance(word, str):
        raise ProtocolError(INVALID_PARAMS, "'argument' needs a 'name' and a 'value'")
    if name not in _arguments(_object(params, "ref"), toolbox, who):
        return None
    return Asked(name, word, _given(params))


def _arguments(ref: Mapping[str, Any], toolbox: Toolbox, who: Principal) -> tuple[str, ...]:
    kind = ref.get("type")
    if kind == "ref/prompt":
        prompt = toolbox.offer(who).prompts.get(str(ref.get("name")))
        return () if prompt is None else prompt.signature.names
    if kind != "ref/resource":
        raise ProtocolError(INVALID_PARAMS, "'ref' is of type ref/prompt or ref/resource")
    uri = ref.get("uri")
    if not any(resource.uri == uri for resource in toolbox.offer(who).resources):
        return ()
    return tuple(_VARIABLE.findall(str(uri)))


def _given(params: Mapping[str, Any]) -> dict[str, str]:
    context = params.get("context")
    given = cast("dict[str, Any]", context).get("arguments") if isinstance(context, dict) else None
    if not isinstance(given, dict):
        return {}
    return {k: v for k, v in cast("dict[str, Any]", given).items() if isinstance(v, str)}


def _object(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = params.get(name)
    if not isinstance(value, dict):
        raise ProtocolError(INVALID_PARAMS, f"'{name}' must be an object")
    return cast("dict[str, Any]", value)
