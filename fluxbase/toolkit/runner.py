"""Runs tools, resources and prompts for callers, and sees to it that every call is recorded.

It must not know what any of them does, nor how a call arrived.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fluxbase.errors import (
    FluxbaseError,
    InternalError,
    InvalidArgument,
    UnknownResource,
    UnknownTable,
)
from fluxbase.toolkit.client import DEAF, MissingInput
from fluxbase.toolkit.completion import Completion, matching
from fluxbase.toolkit.confirm import confirm
from fluxbase.toolkit.content import Blocks
from fluxbase.toolkit.context import Context
from fluxbase.toolkit.effects import KEY
from fluxbase.toolkit.json_text import write
from fluxbase.toolkit.request import Answer, Link

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbase.db.audit_log import AuditLog
    from fluxbase.db.database import Database
    from fluxbase.principal import Confirm, Principal
    from fluxbase.toolkit.prompt import Prompt
    from fluxbase.toolkit.request import Request
    from fluxbase.toolkit.toolbox import Toolbox

T = TypeVar("T")


class Runner:
    """Everything a caller can have done."""

    def __init__(
        self,
        toolbox: Toolbox,
        database: Database,
        audit: AuditLog,
        confirm: Confirm = "nothing",
        services: Mapping[type, object] | None = None,
    ) -> None:
        self._services = services or {}
        self.toolbox = toolbox
        self._confirm: Confirm = confirm
        self._database = database
        self._audit = audit

    async def call(self, request: Request, name: object, arguments: object) -> Answer:
        """Call a tool.

        Raises:
            UnknownTool: the caller has no such tool.
            FluxbaseError: the arguments are wrong, or the tool failed.
        """
        started = time.perf_counter()
        values = cast("Mapping[str, Any]", arguments if isinstance(arguments, dict) else {})
        action = name if isinstance(name, str) and name in self.toolbox.tools else "tools/call"
        ctx = self._context(request, action, values)
        try:
            tool = self.toolbox.find_tool(request.who, name)
            if request.effects is not None and KEY in tool.signature.names:
                values = {KEY: request.effects.name(tool.name, values), **values}
            checked = tool.signature.read(values)
            if tool.destructive and not request.depth:
                await confirm(ctx, tool, values, self._confirm)
            result = await tool.function(ctx, **checked)
        except MissingInput:
            raise
        except Exception as error:
            await self._failed(ctx, error, started)
            raise
        if isinstance(result, Blocks):
            self._done(ctx, started)
            return Answer("", b"", ctx.rows, None, result.content)
        shaped: Callable[[], object] | None = getattr(result, "as_json", None)
        structured = write(shaped() if shaped else result)
        # A result may say itself what a model should read; else it reads the JSON.
        own: Callable[[], str] | None = getattr(result, "text", None)
        text = own() if own else structured.decode()
        self._done(ctx, started)
        more = None if ctx.more is None else self._followed(ctx.who, ctx.more)
        return Answer(text, structured, ctx.rows, more)

    async def read(self, request: Request, uri: object) -> str | bytes:
        """Return what a resource holds.

        Raises:
            UnknownResource: the caller has no such resource.
        """

        async def work(ctx: Context) -> str | bytes:
            resource, variables = self.toolbox.find_resource(request.who, uri)
            return await resource.function(ctx, **variables)

        return await self._recorded(self._context(request, "resources/read", {"uri": uri}), work)

    async def render(
        self, request: Request, name: object, arguments: object
    ) -> tuple[Prompt, list[dict[str, Any]]]:
        """Return a prompt and its messages.

        Raises:
            UnknownPrompt: the caller has no such prompt.
            FluxbaseError: the arguments are wrong.
        """
        values = cast("Mapping[str, Any]", arguments if isinstance(arguments, dict) else {})

        async def work(ctx: Context) -> tuple[Prompt, list[dict[str, Any]]]:
            prompt = self.toolbox.find_prompt(request.who, name)
            return prompt, await prompt.function(ctx, **prompt.signature.read(values))

        return await self._recorded(self._context(request, "prompts/get", values), work)

    async def complete(
        self, request: Request, argument: str, word: str, given: Mapping[str, str]
    ) -> Completion:
        """Return what the caller may complete a word of an argument to."""
        completer = self.toolbox.completers.get(argument)
        if completer is None:
            return Completion([], 0)

        async def work(ctx: Context) -> Completion:
            try:
                return matching(await completer(ctx, given), word)
            except (UnknownTable, InvalidArgument):  # another argument is not finished either
                return Completion([], 0)

        ctx = self._context(request, "completion/complete", {"argument": argument})
        return await self._recorded(ctx, work)

    async def run(
        self,
        request: Request,
        action: str,
        arguments: Mapping[str, Any],
        work: Callable[[Context], Awaitable[T]],
    ) -> T:
        """Do something else than a tool for a caller, and record it; raises what the work does."""
        return await self._recorded(self._context(request, action, arguments), work)

    async def _recorded(self, ctx: Context, work: Callable[[Context], Awaitable[T]]) -> T:
        started = time.perf_counter()
        try:
            done = await work(ctx)
        except MissingInput:
            raise
        except Exception as error:
            await self._failed(ctx, error, started)
            raise
        self._done(ctx, started)
        return done

    def _followed(self, who: Principal, link: Link) -> Link | None:
        """Return a link, unless it leads where this caller may not read."""
        try:
            self.toolbox.find_resource(who, link.uri)
        except UnknownResource:
            return None
        return link

    def _context(self, request: Request, action: str, arguments: Mapping[str, Any]) -> Context:
        return Context(
            who=request.who,
            database=self._database,
            action=action,
            arguments=arguments,
            request_id=request.request_id,
            remote=request.remote,
            audit_key=self._audit.key,
            client=request.client,
            services=self._services,
            runner=self,
            request=request,
        )

    def _done(self, ctx: Context, started: float) -> None:
        if not ctx.recorded and (self._audit.reads or ctx.dry_run):
            # A record waits for its batch; the whole request must not wait in memory with it.
            ctx.client, ctx.request = DEAF, None
            self._audit.add(ctx, "ok", None, started)

    async def _failed(self, ctx: Context, error: Exception, started: float) -> None:
        known = error if isinstance(error, FluxbaseError) else InternalError()
        await self._audit.refuse(ctx, known, started)
