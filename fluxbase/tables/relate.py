"""Finds how two tables are related; it must not see tables that the caller does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fluxbase.errors import UnknownRelationship
from fluxbase.grammar.words import nearest, shown
from fluxbase.tables.plan import Join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fluxbase.db.links import Link
    from fluxbase.db.relation import Visible
    from fluxbase.db.sight import Sight
    from fluxbase.grammar.tree import Embed

_SHOWN: Final = 6


class Relationship(NamedTuple):
    """One way from a table to a related one.

    `targets` are the names it goes by without a hint, `hints` those that tell it from others.
    """

    table: Visible
    join: Join
    targets: tuple[str, ...]
    hints: tuple[str, ...]


def relationship(sight: Sight, table: Visible, embed: Embed, where: str) -> Relationship:
    """Return the relationship that an embedded table means.

    Source: https://docs.postgrest.org/en/stable/references/api/resource_embedding.html

    Raises:
        UnknownRelationship: there is none, or there are several.
    """
    known = list(_relationships(sight, table))
    found = [r for r in known if _fits(r, embed)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _none(known, embed, where)
    ways = [f"{shown_name(r)}!{r.hints[0]}" for r in found]
    raise UnknownRelationship(
        f"{where}: {shown(embed.target)} is related in {len(found)} ways",
        hint="name one: " + ", ".join(dict.fromkeys(ways[:_SHOWN])),
    )


def shown_name(found: Relationship) -> str:
    """Return the name of the related table."""
    return found.table.relation.name


def _fits(found: Relationship, embed: Embed) -> bool:
    if embed.hint is None:
        return embed.target in found.targets
    return embed.target in found.targets and embed.hint in found.hints


def _none(known: Iterable[Relationship], embed: Embed, where: str) -> UnknownRelationship:
    names = list(dict.fromkeys(shown_name(r) for r in known))
    hints = [h for r in known if shown_name(r) == embed.target for h in r.hints]
    if hints and embed.hint is not None:
        return UnknownRelationship(
            f"{where}: no relationship {shown(embed.hint)}{nearest(embed.hint, hints)}",
            hint="known: " + ", ".join(dict.fromkeys(hints[:_SHOWN])),
        )
    if embed.target in ("count", "sum", "avg", "min", "max"):
        return UnknownRelationship(
            f"{where}: no related table {shown(embed.target)}",
            hint="aggregates are written count(), amount.sum(), amount.avg()",
        )
    told = "related tables: " + ", ".join(names[:20]) if names else "it has no related tables"
    return UnknownRelationship(
        f"{where}: no related table {shown(embed.target)}{nearest(embed.target, names)}", hint=told
    )


def _relationships(sight: Sight, table: Visible) -> Iterator[Relationship]:
    for link, target in sight.references_from(table):
        if _readable(table, link.columns) and _readable(target, link.foreign_columns):
            yield _to_one(table, link, target)
    for link, source in sight.references_to(table):
        if _readable(source, link.columns) and _readable(table, link.foreign_columns):
            yield _to_many(table, link, source)
            yield from _through(sight, link, source)


def _to_one(table: Visible, link: Link, target: Visible) -> Relationship:
    """Return the way along a reference.

    The reference's own names mean the table it leads to rather than views of it. A reference of
    a table to itself goes by them alone: the table's name means the rows that refer to it.
    """
    join = Join(tuple(zip(link.columns, link.foreign_columns, strict=True)), many=False)
    own = (link.name, *_single(link.columns))
    named = own if not target.relation.origins else ()
    if target.relation.oid == table.relation.oid:
        return Relationship(target, join, named, own)
    hints = (*own, *_single(link.foreign_columns))
    return Relationship(target, join, (*_names(target), *named), hints)


def _to_many(table: Visible, link: Link, source: Visible) -> Relationship:
    """Return the way back along a reference."""
    pairs = tuple(zip(link.foreign_columns, link.columns, strict=True))
    itself = source.relation.oid == table.relation.oid
    named = (link.name,) if not (source.relation.origins or itself) else ()
    hints = (link.name, *_single(link.columns), *_single(link.foreign_columns))
    return Relationship(source, Join(pairs, many=not link.unique), (*_names(source), *named), hints)


def _through(sight: Sight, first: Link, junction: Visible) -> Iterator[Relationship]:
    """Yield the tables beyond a junction: a table whose key holds two references."""
    key = set(junction.relation.primary_key)
    if not key.issuperset(first.columns):
        return
    for second, target in sight.references_from(junction):
        usable = (
            second.name != first.name
            and key.issuperset(second.columns)
            and _readable(junction, second.columns)
            and _readable(target, second.foreign_columns)
        )
        if not usable:
            continue
        join = Join(
            tuple(zip(first.foreign_columns, first.columns, strict=True)),
            many=True,
            junction=junction,
            beyond=tuple(zip(second.columns, second.foreign_columns, strict=True)),
        )
        hints = (junction.relation.name, second.name)
        yield Relationship(target, join, _names(target), hints)


def _names(table: Visible) -> tuple[str, ...]:
    return (table.relation.name, table.relation.full_name)


def _single(columns: tuple[str, ...]) -> tuple[str, ...]:
    return columns if len(columns) == 1 else ()


def _readable(table: Visible, columns: Iterable[str]) -> bool:
    return table.grant.select.issuperset(columns)
