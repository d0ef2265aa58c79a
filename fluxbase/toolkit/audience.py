"""Decides for whom what an administrator published is there; it must not know what that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.toolkit.context import Context


class Published(Protocol):
    """Something that is for everybody with its scopes, or for those with one of its roles too."""

    @property
    def public(self) -> bool:
        """Whether no role is asked for."""
        ...

    @property
    def roles(self) -> frozenset[str]:
        """Roles of which a caller needs one, unless it is public."""
        ...

    @property
    def scopes(self) -> frozenset[str]:
        """Scopes of which a caller needs all."""
        ...


P = TypeVar("P", bound=Published)


async def admitted(ctx: Context, published: Iterable[P]) -> list[P]:
    """Return what is there for the caller, in its order; for a service key all of it.

    Raises:
        Unavailable: the database is needed and does not answer.
    """
    found = list(published)
    if ctx.who.is_service:
        return found
    found = [p for p in found if all(ctx.who.holds((scope,)) for scope in p.scopes)]
    if all(p.public for p in found):
        return found
    roles = await ctx.catalog.roles_of(ctx.who)
    return [p for p in found if p.public or not roles.isdisjoint(p.roles)]
