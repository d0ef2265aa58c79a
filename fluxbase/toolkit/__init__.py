"""How a tool or a resource is declared, found and called."""

from fluxbase.toolkit.context import Context
from fluxbase.toolkit.resource import resource
from fluxbase.toolkit.tool import tool

__all__ = ["Context", "resource", "tool"]
