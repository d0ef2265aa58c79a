"""Declares a resource: one function behind a URI or a URI template; it must not read any."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from urllib.parse import unquote

from fluxbase.principal import SCOPES, allows
from fluxbase.toolkit.marks import description_of, marked

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

P = ParamSpec("P")
T = TypeVar("T")

_MARK: Final = "__fluxbase_resource__"
# `{name}` is one part of a path, `{+name}` all that follows (RFC 6570, 3.2.2 and 3.2.3).
_VARIABLE: Final = re.compile(r"\\\{(\\\+)?(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Declared:
    """What the decorator notes on a function."""

    uri: str
    scopes: tuple[str, ...]
    title: str
    untrusted: bool
    tool: str | None
    mime_type: str
    follows: str | None


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource or template as it is offered and read; the answer is text or bytes."""

    name: str
    uri: str
    title: str
    description: str
    scopes: tuple[str, ...]
    untrusted: bool
    function: Callable[..., Any]
    pattern: re.Pattern[str]
    tool: str | None = None
    mime_type: str = "application/json"
    follows: str | None = None

    @property
    def is_template(self) -> bool:
        """True when the URI has variables."""
        return "{" in self.uri

    def is_within(self, globs: tuple[str, ...]) -> bool:
        """Return whether an allowlist may let some URI of this resource through.

        Of a template that is told by a sample of its URIs and by what stands before its first
        variable and the glob's first wildcard; each URI is judged by itself when it is read.
        """
        if allows(globs, self.uri) or not self.is_template:
            return allows(globs, self.uri)
        start = self.uri.partition("{")[0]
        fixed = [re.split(r"[*?[]", glob, maxsplit=1)[0] for glob in globs]
        sample = re.sub(r"\{\+?\w+\}", "x", self.uri)
        return allows(globs, sample) or any(part.startswith(start) for part in fixed)

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the variables of `uri`, or `None` when it is not this resource's."""
        found = self.pattern.fullmatch(uri)
        return {k: unquote(v) for k, v in found.groupdict().items()} if found else None

    def listing(self) -> dict[str, Any]:
        """Return the entry of `resources/list` or `resources/templates/list`."""
        return {
            "uriTemplate" if self.is_template else "uri": self.uri,
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "mimeType": self.mime_type,
        }


def resource(
    uri: str,
    *,
    scopes: tuple[str, ...],
    title: str,
    untrusted: bool = False,
    tool: str | None = None,
    mime_type: str = "application/json",
    follows: str | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a function as the reader of `uri`; `{name}` in it is an argument of the function.

    Args:
        uri: the URI or template; `?offset={offset}`-like parts are not needed, paging is by cursor.
        scopes: any one of them lets a caller read it.
        title: the name people see.
        untrusted: its text is what users wrote, such as rows.
        tool: it does what this tool does, so it is there for those alone who may use the tool.
        mime_type: of what the function returns.
        follows: `catalog` when it may change with the tables that there are.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ValueError(f"unknown scopes: {', '.join(unknown)}")
    declared = Declared(uri, scopes, title, untrusted, tool, mime_type, follows)

    def mark(function: Callable[P, T]) -> Callable[P, T]:
        setattr(function, _MARK, declared)
        return function

    return mark


def resources_of(module: ModuleType) -> list[Resource]:
    """Return the resources that a module declares, in the order they stand there.

    Raises:
        ValueError: a resource has no docstring.
    """
    found: list[Resource] = []
    for function, declared in marked(module, _MARK):
        pattern = _VARIABLE.sub(_group, re.escape(declared.uri))
        found.append(
            Resource(
                name=function.__name__,
                uri=declared.uri,
                title=declared.title,
                description=description_of(function),
                scopes=declared.scopes,
                untrusted=declared.untrusted,
                function=function,
                pattern=re.compile(pattern),
                tool=declared.tool,
                mime_type=declared.mime_type,
                follows=declared.follows,
            )
        )
    return found


def _group(variable: re.Match[str]) -> str:
    return f"(?P<{variable[2]}>{'[^?#]+' if variable[1] else '[^/?#]+'})"
