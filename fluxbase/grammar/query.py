"""Puts a call's select, filter, order and settings of embedded tables together into one tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fluxbase.grammar import order as orders
from fluxbase.grammar import select as selects
from fluxbase.grammar.conditions import Operand, Operands
from fluxbase.grammar.filters import Conditions
from fluxbase.grammar.scan import Scanner
from fluxbase.grammar.tree import Embed, Query
from fluxbase.grammar.words import nearest, shown, wrong

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from fluxbase.errors import FluxbaseError
    from fluxbase.grammar.filters import Path
    from fluxbase.grammar.tree import Item, Sort

_MOST_EMBEDS: Final = 50
_SHOWN: Final = 200


class Asked(NamedTuple):
    """A tree, and the operands that its slots stand for."""

    tree: Query
    operands: Operands


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of one embedded table beside its conditions."""

    filter: Mapping[str, Any] | None = None
    order: str | None = None
    limit: int | None = None
    offset: int | None = None


def read(
    select: str,
    filters: Mapping[str, Any] | None = None,
    order: str | None = None,
    embed: Mapping[str, Settings] | None = None,
    *,
    known: Container[str] = (),
    where: str = "select",
) -> Asked:
    """Return the tree of a call and its operands.

    Args:
        select: columns and related tables, as in `id,author(name)`.
        filters: conditions by field; `author.name` is a condition on an embedded table.
        order: the sorting.
        embed: settings of embedded tables by their path, such as `author` or `posts.comments`.
        known: names that are columns of the table whatever stands in them.
        where: the argument that `select` came from, for errors.

    Raises:
        InvalidFilter: something is not well formed, or names no embedded table.
    """
    items = selects.parse(select, where)
    conditions = Conditions()
    if filters:
        conditions.read(filters, known)
    if not embed and conditions.found.keys() <= {()}:
        return Asked(Query(items, conditions.of(()), orders.parse(order)), conditions.operands)
    given = _settings(embed or {}, conditions)
    paths = {*conditions.found, *given}
    composed = _Composer(conditions, given, paths).items(items, ())
    return Asked(Query(composed, conditions.of(()), orders.parse(order)), conditions.operands)


class _Given(NamedTuple):
    order: tuple[Sort, ...]
    limit: int | None
    offset: int | None


def _settings(embed: Mapping[str, Settings], conditions: Conditions) -> dict[Path, _Given]:
    if len(embed) > _MOST_EMBEDS:
        raise wrong("embed", f"more than {_MOST_EMBEDS} tables")
    found: dict[Path, _Given] = {}
    for name, given in embed.items():
        where = f"embed.{name}" if name.isprintable() and len(name) <= 200 else "embed"
        path = _path(name)
        if path in found:
            raise wrong(where, "this embedded table is named twice")
        if given.filter:
            inner = Conditions(operands=conditions.operands)
            inner.read(given.filter, where=f"{where}.filter")
            for below, parts in inner.found.items():
                conditions.found.setdefault(path + below, []).extend(parts)
        slots: list[int | None] = []
        for what, value in (("limit", given.limit), ("offset", given.offset)):
            slots.append(None if value is None else len(conditions.operands))
            if value is not None:
                conditions.operands.append(Operand(value, f"{where}.{what}"))
        found[path] = _Given(orders.parse(given.order, f"{where}.order"), slots[0], slots[1])
    return found


def _path(name: str) -> Path:
    scanner = Scanner(name, "embed, name")
    names = [scanner.name("the name of an embedded table")]
    while scanner.take("."):
        names.append(scanner.name("the name of an embedded table"))
    if not scanner.at_end:
        raise scanner.wrong("this is not a path such as 'author' or 'posts.comments'")
    return tuple(names)


class _Composer(NamedTuple):
    """Puts what is asked of embedded tables into the items that embed them."""

    conditions: Conditions
    given: Mapping[Path, _Given]
    paths: set[Path]

    def items(self, items: tuple[Item, ...], path: Path) -> tuple[Item, ...]:
        """Return the items of the table at `path` with what is asked of those within.

        A name is that of the first embedded table whose alias or own name it is, as in PostgREST.

        Raises:
            InvalidFilter: a name is that of none.
        """
        named = {p[len(path)] for p in self.paths if len(p) > len(path) and p[: len(path)] == path}
        if not named:
            return items
        left = set(named)
        found: list[Item] = []
        for item in items:
            if isinstance(item, Embed):
                name = item.alias if item.alias in left else item.target
                if name in left:
                    left.discard(name)
                    found.append(self._embedded(item, (*path, name)))
                    continue
            found.append(item)
        if left:
            raise self._unknown((*path, min(left)), items)
        return tuple(found)

    def _embedded(self, embed: Embed, path: Path) -> Embed:
        given = self.given.get(path, _Given((), None, None))
        query = Query(
            self.items(embed.query.items, path),
            self.conditions.of(path),
            given.order,
            given.limit,
            given.offset,
        )
        return replace(embed, query=query)

    def _unknown(self, path: Path, items: tuple[Item, ...]) -> FluxbaseError:
        names = [item.name for item in items if isinstance(item, Embed)]
        asked = any(p[: len(path)] == path for p in self.conditions.found)
        shown_path = ".".join(path)
        where = f"{'filter' if asked else 'embed'}.{shown_path}"
        return wrong(
            where if shown_path.isprintable() and len(where) <= _SHOWN else "filter",
            f"no embedded table {shown(path[-1])} in select{nearest(path[-1], names)}",
            "embed it in select, such as select='*,author(*)', or put a column's odd name in "
            "double quotes",
        )
