"""Which relations refer to which, through foreign keys, also where views show their columns.

It must not know callers: whether a relation may be seen is decided by who asks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluxbase.db.relation import Relation


class Link(NamedTuple):
    """`columns` of the relation `source` refer to `foreign_columns` of `target` (both oids)."""

    name: str
    source: int
    columns: tuple[str, ...]
    target: int
    foreign_columns: tuple[str, ...]
    unique: bool  # at most one row of the source refers to one of the target
    follows: bool = False


class _Shows(NamedTuple):
    """A relation that shows columns of a table, under its own names: stored name to shown name."""

    oid: int
    names: Mapping[str, str]


@dataclass(slots=True)
class Links:
    """All references, by the relation they start from and by the one they lead to."""

    by_source: dict[int, list[Link]] = field(default_factory=lambda: defaultdict(list))
    by_target: dict[int, list[Link]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, relations: Mapping[int, Relation]) -> Links:
        """Return the references among relations given by oid."""
        links = cls()
        shows = _shows(relations)
        for relation in relations.values():
            for key in relation.foreign_keys:
                if key.inherited:
                    continue  # the partitioned table stands for its partitions
                unique = _is_unique(relation, key.columns)
                for source in shows[relation.oid]:
                    for target in shows[key.foreign]:
                        columns = _shown(source, key.columns)
                        foreign = _shown(target, key.foreign_columns)
                        if columns and foreign:
                            link = Link(key.name, source.oid, columns, target.oid, foreign, unique)
                            links.by_source[source.oid].append(link)
                            links.by_target[target.oid].append(link)
        return links


def _shown(shows: _Shows, columns: Iterable[str]) -> tuple[str, ...]:
    found = tuple(shows.names.get(column, "") for column in columns)
    return found if all(found) else ()


def _is_unique(relation: Relation, columns: tuple[str, ...]) -> bool:
    if relation.has_heirs:
        return False
    keys = (relation.primary_key, *relation.uniques)
    return any(key and set(key) <= set(columns) for key in keys)


def _shows(relations: Mapping[int, Relation]) -> dict[int, list[_Shows]]:
    """Return for each table by oid what shows its columns: the table itself, and views of it."""
    shows: dict[int, list[_Shows]] = defaultdict(list)
    for relation in relations.values():
        if not relation.origins:
            shows[relation.oid].append(_Shows(relation.oid, {c: c for c in relation.columns}))
            continue
        names: dict[int, dict[str, str]] = defaultdict(dict)
        for name in relation.origins:
            stored = _stored(relations, relation, name)
            if stored is not None:
                names[stored[0]].setdefault(stored[1], name)
        for oid, shown in names.items():
            shows[oid].append(_Shows(relation.oid, shown))
    return shows


def _stored(relations: Mapping[int, Relation], view: Relation, name: str) -> tuple[int, str] | None:
    """Return the table and column that a view's column shows, through views below it."""
    while view.origins:
        oid, number = view.origins.get(name, (0, 0))
        if oid not in relations or number not in relations[oid].numbers:
            return None
        view, name = relations[oid], relations[oid].numbers[number]
    return view.oid, name
