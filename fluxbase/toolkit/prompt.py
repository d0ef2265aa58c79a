"""Declares a prompt: one function whose arguments a person fills in; it must not render any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from fluxbase.principal import SCOPES
from fluxbase.toolkit.marks import description_of, marked
from fluxbase.toolkit.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from fluxbase.toolkit.content import Block

P = ParamSpec("P")
T = TypeVar("T")

_MARK: Final = "__fluxbase_prompt__"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the decorator notes on a function."""

    scopes: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as it is offered and rendered."""

    name: str
    title: str
    description: str
    scopes: tuple[str, ...]
    signature: Signature
    function: Callable[..., Any]

    def listing(self) -> dict[str, Any]:
        """Return the entry of `prompts/list`."""
        schema = self.signature.input_schema
        required = schema.get("required", [])
        arguments = [
            {
                "name": name,
                "description": _description(spec),
                "required": name in required,
            }
            for name, spec in schema.get("properties", {}).items()
        ]
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "arguments": arguments,
        }


def _description(spec: dict[str, Any]) -> str:
    options: list[dict[str, Any]] = [spec, *spec.get("anyOf", [])]
    return next((str(o["description"]) for o in options if "description" in o), "")


def prompt(*, scopes: tuple[str, ...], title: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a function as a prompt; it returns messages, its arguments are texts.

    Args:
        scopes: any one of them lets a caller use the prompt; unknown ones are refused at import.
        title: the name people see.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ValueError(f"unknown scopes: {', '.join(unknown)}")

    def mark(function: Callable[P, T]) -> Callable[P, T]:
        setattr(function, _MARK, Declared(scopes, title))
        return function

    return mark


def prompts_of(module: ModuleType) -> list[Prompt]:
    """Return the prompts that a module declares, in the order they stand there.

    Raises:
        ValueError: a prompt has no docstring.
    """
    found: list[Prompt] = []
    for function, declared in marked(module, _MARK):
        found.append(
            Prompt(
                name=function.__name__,
                title=declared.title,
                description=description_of(function),
                scopes=declared.scopes,
                signature=Signature(function),
                function=function,
            )
        )
    return found


def user(block: Block) -> dict[str, Any]:
    """Return a message that a person says."""
    return {"role": "user", "content": block}


def assistant(block: Block) -> dict[str, Any]:
    """Return a message that the model says."""
    return {"role": "assistant", "content": block}
