"""Declares what completes an argument: one function per kind of name; it must not know clients.

An argument of a prompt, or a variable of a resource template, completes by the completer that has
its name: `table` by the one for `table`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from fluxbase.toolkit.marks import marked

if TYPE_CHECKING:
    from types import ModuleType

    from fluxbase.toolkit.context import Context

_MARK: Final = "__fluxbase_completer__"
MOST: Final = 100

F = TypeVar("F", bound=Callable[..., Any])
Completer = Callable[["Context", Mapping[str, str]], Awaitable[Iterable[str]]]


class Completion(NamedTuple):
    """What a word may become: the best values, and how many there are in all."""

    values: list[str]
    total: int


def completer(name: str) -> Callable[[F], F]:
    """Mark a function as what completes arguments called `name`.

    It is given the context and the other arguments as far as they are known, and returns every
    value that the caller may use.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, name)
        return function

    return mark


def completers_of(module: ModuleType) -> dict[str, Completer]:
    """Return what a module completes, by the arguments' names."""
    return {name: function for function, name in marked(module, _MARK)}


def matching(values: Iterable[str], word: str) -> Completion:
    """Return the values that begin with a word, then those that hold it; letters' case is equal."""
    wanted = word.casefold()
    known = sorted(set(values), key=lambda v: (v.casefold(), v))
    first = [v for v in known if v.casefold().startswith(wanted)]
    others = [v for v in known if wanted in v.casefold() and v not in set(first)]
    found = first + others
    return Completion(found[:MOST], len(found))
