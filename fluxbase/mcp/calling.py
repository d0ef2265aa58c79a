"""Calls tools and reads resources for clients; it must not know HTTP or what a tool does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from fluxbase.errors import FluxbaseError, UnknownResource
from fluxbase.mcp import wire
from fluxbase.mcp.completion import read_completion
from fluxbase.mcp.conversation import Conversation
from fluxbase.mcp.lists import CACHED
from fluxbase.mcp.params import check_header_params, text
from fluxbase.mcp.untrusted import wrap
from fluxbase.toolkit.completion import Completion
from fluxbase.toolkit.content import contents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from fluxbase.mcp.inbound import Message
    from fluxbase.mcp.turn import Turn
    from fluxbase.principal import Untrusted
    from fluxbase.toolkit.request import Request
    from fluxbase.toolkit.runner import Runner

_LONGEST_URI: Final = 2048


class Calling:
    """Answers `tools/call` and `resources/read`."""

    def __init__(self, runner: Runner, untrusted_data: Untrusted) -> None:
        self._runner = runner
        self._untrusted_data = untrusted_data

    def call(self, turn: Turn, message: Message) -> Awaitable[Mapping[str, Any]]:
        """Answer `tools/call`."""
        name, arguments = text(message, "name"), _arguments(message)
        client = turn.request.client
        if message.modern:
            check_header_params(self._runner.toolbox, name, arguments, turn.headers)
        if isinstance(client, Conversation) and client.listens:
            return self._followed(client, turn, message, name, arguments)
        return self._called(turn.request, message, name, arguments)

    async def _followed(
        self,
        client: Conversation,
        turn: Turn,
        message: Message,
        name: str,
        arguments: dict[str, Any],
    ) -> Mapping[str, Any]:
        """Call a tool for a client that wants to hear of it meanwhile."""
        started = time.perf_counter()
        try:
            async with client.ticking():
                result = await self._called(turn.request, message, name, arguments)
        except FluxbaseError as error:
            await client.log("warning", error.as_dict(), name)
            raise
        ms = round((time.perf_counter() - started) * 1000, 1)
        await client.log("debug", {"message": "the call is done", "ms": ms}, name)
        return result

    async def read(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `resources/read`."""
        uri, request = text(message, "uri"), turn.request
        try:
            held = await self._runner.read(request, uri)
        except UnknownResource as error:
            error.uri = uri if len(uri) <= _LONGEST_URI else None
            raise
        resource, _ = self._runner.toolbox.find_resource(request.who, uri)
        kind = resource.mime_type
        if resource.untrusted and isinstance(held, str) and self._wraps(request):
            held, kind = wrap(held), "text/plain"
        result: dict[str, Any] = {"contents": [contents(uri, held, kind)]}
        return result | CACHED if message.modern else result

    async def render(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `prompts/get`."""
        name = text(message, "name")
        prompt, messages = await self._runner.render(turn.request, name, _arguments(message))
        return {"description": prompt.description, "messages": messages}

    async def complete(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `completion/complete`."""
        asked = read_completion(message.params, self._runner.toolbox, turn.request.who)
        found = Completion([], 0)
        if asked is not None:
            word, given = asked.word, asked.given
            found = await self._runner.complete(turn.request, asked.argument, word, given)
        more = found.total > len(found.values)
        return {"completion": {"values": found.values, "total": found.total, "hasMore": more}}

    async def _called(
        self, request: Request, message: Message, name: str, arguments: dict[str, Any]
    ) -> Mapping[str, Any]:
        answer = await self._runner.call(request, name, arguments)
        if answer.blocks:
            return {"content": list(answer.blocks), "isError": False}
        words = answer.text
        if self._wraps(request) and self._runner.toolbox.tools[name].untrusted:
            words = wrap(words)
        if answer.more is None:
            return wire.tool_result(words, answer.structured)
        more = answer.more._asdict()
        return wire.tool_result(words, answer.structured, more, version=message.version)

    def _wraps(self, request: Request) -> bool:
        return (request.who.untrusted_data or self._untrusted_data) == "wrap"


def _arguments(message: Message) -> dict[str, Any]:
    arguments = message.params.get("arguments")
    if arguments is None:  # left out, or null from clients that write what is not there
        return {}
    if not isinstance(arguments, dict):
        raise wire.ProtocolError(wire.INVALID_PARAMS, "'arguments' must be an object")
    return cast("dict[str, Any]", arguments)
