"""How a tool, a resource or a prompt is declared, found and called."""

from fluxbase.toolkit.context import Context
from fluxbase.toolkit.prompt import prompt
from fluxbase.toolkit.resource import resource
from fluxbase.toolkit.tool import tool

__all__ = ["Context", "prompt", "resource", "tool"]
