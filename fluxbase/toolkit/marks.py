"""Finds what a module declares by decorators; it must not know what is declared."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

T = TypeVar("T")


def marked(module: ModuleType, mark: str) -> Iterator[tuple[Callable[..., Any], Any]]:
    """Yield the module's own functions that carry a mark, and what it says, in their order."""
    for function in vars(module).values():
        declared = getattr(function, mark, None)
        if declared is not None and function.__module__ == module.__name__:
            yield function, declared


def description_of(function: Callable[..., Any]) -> str:
    """Return the docstring, which is what models read.

    Raises:
        ValueError: there is none.
    """
    found = inspect.getdoc(function)
    if not found:
        raise ValueError(f"{function.__module__}.{function.__name__}: a docstring is needed")
    return found
