"""Every tool, resource and prompt: which of them a caller sees.

What a caller may not use is neither listed nor callable, and answers like something that does not
exist. It must not know what any tool does, nor how one is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from fluxbase.errors import (
    ConfigError,
    InsufficientScope,
    UnknownPrompt,
    UnknownResource,
    UnknownTool,
)
from fluxbase.principal import allows
from fluxbase.toolkit.completion import completers_of
from fluxbase.toolkit.prompt import Prompt, prompts_of
from fluxbase.toolkit.resource import Resource, resources_of
from fluxbase.toolkit.tool import Tool, tools_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from fluxbase.principal import Principal


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offer:
    """What one caller sees, and the entries of its lists once they were written."""

    tools: Mapping[str, Tool]
    resources: tuple[Resource, ...]
    prompts: Mapping[str, Prompt] = field(default_factory=dict[str, "Prompt"])
    written: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"], compare=False)


class Toolbox:
    """The tools, resources and prompts of all rooms, under the configuration's allowlists."""

    def __init__(
        self,
        rooms: Iterable[ModuleType],
        *,
        allowed_tools: tuple[str, ...] = (),
        allowed_resources: tuple[str, ...] = (),
        allowed_prompts: tuple[str, ...] = (),
    ) -> None:
        modules = list(rooms)
        self.prompts = _by_name("prompt", ((p.name, p) for m in modules for p in prompts_of(m)))
        self.completers = _by_name(
            "completer", (pair for m in modules for pair in completers_of(m).items())
        )
        self._prompts = tuple(p for p in self.prompts.values() if allows(allowed_prompts, p.name))
        _check_globs("mcp.allowed_prompts", allowed_prompts, self.prompts)
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

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the configuration offers, whoever asks."""
        return self._tools

    def offer(self, who: Principal) -> Offer:
        """Return what the caller sees: the allowlist, its scopes, and its own lists together."""
        key = (
            who.scopes,
            who.is_service,
            who.read_only,
            who.allowed_tools,
            who.allowed_resources,
        )
        offer = self._offers.get(key)
        if offer is None:
            tools = {
                t.name: t
                for t in self._tools
                if who.holds(t.scopes)
                and allows(who.allowed_tools, t.name)
                and (t.read_only or t.for_readers or not who.read_only)
                and (who.is_service or not t.service)
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
                {p.name: p for p in self._prompts if who.holds(p.scopes)},
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
        if tool is None and who.client_id is not None:
            self._refuse_scope(who, name)
        if tool is None:
            raise UnknownTool("no such tool", hint="tools/list shows the tools this key may use")
        return tool

    def _refuse_scope(self, who: Principal, name: object) -> None:
        """Tell an assistant what to ask its user for, when that is all that is missing.

        Raises:
            InsufficientScope: the tool is offered, and its scope was not granted.
        """
        for tool in self._tools:
            if tool.name == name and not who.holds(tool.scopes):
                raise InsufficientScope(tuple(sorted({*who.scopes, tool.scopes[0]})))

    def find_prompt(self, who: Principal, name: object) -> Prompt:
        """Return a prompt the caller may use.

        Raises:
            UnknownPrompt: there is none of that name for this caller.
        """
        prompt = self.offer(who).prompts.get(name) if isinstance(name, str) else None
        if prompt is None:
            raise UnknownPrompt(
                "no such prompt", hint="prompts/list shows the prompts this key may use"
            )
        return prompt

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
