"""Every tool and resource: which of them a caller sees, and how one is called.

What a caller may not use is neither listed nor callable, and answers like something that does not
exist. It must not know what any tool does, nor how a call arrived.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from fluxbase.errors import ConfigError, FluxbaseError, InternalError, UnknownResource, UnknownTool
from fluxbase.principal import allows
from fluxbase.toolkit.client import DEAF, MissingInput
from fluxbase.toolkit.confirm import confirm
from fluxbase.toolkit.content import Blocks
from fluxbase.toolkit.context import Context, Link
from fluxbase.toolkit.json_text import write
from fluxbase.toolkit.resource import Resource, resources_of
from fluxbase.toolkit.tool import Tool, tools_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from fluxbase.db.audit_log import AuditLog
    from fluxbase.db.database import Database
    from fluxbase.principal import Confirm, Principal
    from fluxbase.toolkit.client import Client
    from fluxbase.toolkit.content import Block


T = TypeVar("T")


class Answer(NamedTuple):
    """What a tool gave: the text for the model and the same as JSON bytes, or content blocks."""

    text: str
    structured: bytes
    rows: int | None = None
    more: Link | None = None
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What one caller sees, and the entries of its lists once they were written."""

    tools: Mapping[str, Tool]
    resources: tuple[Resource, ...]
    written: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"], compare=False)


class Request(NamedTuple):
    """The circumstances of a call."""

    who: Principal
    request_id: str
    remote: str | None
    client: Client = DEAF


class Toolbox:
    """The tools and resources of all rooms, under the configuration's allowlists."""

    def __init__(
        self,
        rooms: Iterable[ModuleType],
        *,
        allowed_tools: tuple[str, ...] = (),
        allowed_resources: tuple[str, ...] = (),
    ) -> None:
        modules = list(rooms)
        self.tools = _by_name("tool", ((t.name, t) for m in modules for t in tools_of(m)))
        self.resources = _by_name(
            "resource", ((r.uri, r) for m in modules for r in resources_of(m))
        )
        self._tools = tuple(t for t in self.tools.values() if allows(allowed_tools, t.name))
        self._resources = tuple(
            r for r in self.resources.values() if r.is_within(allowed_resources)
        )
        self._allowed_resources = allowed_resources
        _check_globs("mcp.allowed_tools", allowed_tools, self.tools)
        for glob in allowed_resources:
            if not any(r.is_within((glob,)) for r in self.resources.values()):
                raise _nothing("mcp.allowed_resources", glob, self.resources)
        self._offers: dict[tuple[object, ...], Offer] = {}

    def offer(self, who: Principal) -> Offer:
        """Return what the caller sees: the allowlist, its scopes, and its own lists together."""
        key = (who.scopes, who.read_only, who.allowed_tools, who.allowed_resources)
        offer = self._offers.get(key)
        if offer is None:
            tools = {
                t.name: t
                for t in self._tools
                if who.holds(t.scopes)
                and allows(who.allowed_tools, t.name)
                and (t.read_only or not who.read_only)
            }
            offer = self._offers[key] = Offer(
                tools,
                tuple(
                    r
                    for r in self._resources
                    if who.holds(r.scopes)
                    and r.is_within(who.allowed_resources)
                    and (r.tool is None or r.tool in tools)
                ),
            )
            if len(self._offers) > 10_000:
                self._offers.pop(next(iter(self._offers)))
        return offer

    def find_tool(self, who: Principal, name: object) -> Tool:
        """Return a tool the caller may use.

        Raises:
            UnknownTool: there is none of that name for this caller.
        """
        tool = self.offer(who).tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise UnknownTool("no such tool", hint="tools/list shows the tools this key may use")
        return tool

    def find_resource(self, who: Principal, uri: object) -> tuple[Resource, dict[str, str]]:
        """Return the resource that a URI names, and the variables in it.

        Raises:
            UnknownResource: there is none of that URI for this caller.
        """
        if isinstance(uri, str):
            for resource in self.offer(who).resources:
                variables = resource.match(uri)
                if variables is not None and all(
                    allows(globs, uri) or allows(globs, resource.uri)
                    for globs in (self._allowed_resources, who.allowed_resources)
                ):
                    return resource, variables
        raise UnknownResource(
            "no such resource", hint="resources/list shows the resources this key may read"
        )


class Runner:
    """Runs tools and resources for callers, and sees to it that every call is recorded."""

    def __init__(
        self,
        toolbox: Toolbox,
        database: Database,
        audit: AuditLog,
        confirm: Confirm = "nothing",
    ) -> None:
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
            checked = tool.signature.read(values)
            if tool.destructive:
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
        started = time.perf_counter()
        ctx = self._context(request, "resources/read", {"uri": uri})
        try:
            resource, variables = self.toolbox.find_resource(request.who, uri)
            held: str | bytes = await resource.function(ctx, **variables)
        except MissingInput:
            raise
        except Exception as error:
            await self._failed(ctx, error, started)
            raise
        self._done(ctx, started)
        return held

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
        )

    def _done(self, ctx: Context, started: float) -> None:
        if not ctx.recorded and (self._audit.reads or ctx.dry_run):
            self._audit.add(ctx, "ok", None, started)

    async def _failed(self, ctx: Context, error: Exception, started: float) -> None:
        known = error if isinstance(error, FluxbaseError) else InternalError()
        await self._audit.refuse(ctx, known, started)


def _check_globs(key: str, globs: tuple[str, ...], names: Mapping[str, object]) -> None:
    for glob in globs:
        if not any(allows((glob,), name) for name in names):
            raise _nothing(key, glob, names)


def _nothing(key: str, glob: str, names: Mapping[str, object]) -> ConfigError:
    close = get_close_matches(glob, names, n=1)
    return ConfigError(
        f"{key}: '{glob}' matches nothing" + (f"; did you mean '{close[0]}'?" if close else ""),
        hint="known: " + ", ".join(sorted(names)),
    )


def _by_name(what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, item in pairs:
        if name in found:
            raise ValueError(f"{what} {name} is declared twice")
        found[name] = item
    return found
