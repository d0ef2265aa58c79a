"""Remembers the SQL of reads by their shape; no value is ever part of what is remembered.

A shape is everything of a plan that its SQL text depends on: the table, the columns, the
operators, the sorting. Reads of one shape differ in their parameters alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluxbase.tables.plan import All, Among, Compare, Is, Not

if TYPE_CHECKING:
    from fluxbase.db.relation import Relation
    from fluxbase.db.sql import Sql
    from fluxbase.tables.plan import Condition, Read

_MOST: Final = 4096
_LONGEST: Final = 8192  # characters; longer ones are rare and would fill the memory


def shape(plan: Read, values: list[object]) -> tuple[Any, ...]:
    """Return the shape of a read, and append its condition's values in the order of the SQL."""
    return (
        id(plan.table.relation),
        plan.columns,
        _condition(plan.where, values),
        tuple((o.column.name, o.descending, o.nulls) for o in plan.order),
        plan.offset > 0,
        plan.count,
    )


def _condition(node: Condition, values: list[object]) -> tuple[Any, ...]:
    match node:
        case Compare():
            values.append(node.value)
            return (node.column.name, node.operator)
        case Among():
            values.append(list(node.values))
            return (node.column.name, "among")
        case Is():
            return (node.column.name, "is", node.truth)
        case Not():
            return ("not", _condition(node.inner, values))
        case All():
            return tuple([_condition(part, values) for part in node.parts])


class Texts:
    """The SQL texts of the shapes asked for lately, at most a few thousand."""

    def __init__(self) -> None:
        self._texts: dict[tuple[Any, ...], tuple[Relation, Sql]] = {}

    def get(self, key: tuple[Any, ...], relation: Relation) -> Sql | None:
        """Return the text of a shape, unless the catalog was read anew since."""
        found = self._texts.get(key)
        return found[1] if found is not None and found[0] is relation else None

    def keep(self, key: tuple[Any, ...], relation: Relation, text: Sql) -> None:
        """Remember a text; the relation is kept too, so that its identity stays its own."""
        if len(text) > _LONGEST:
            return
        if len(self._texts) >= _MOST:
            self._texts.pop(next(iter(self._texts)))
        self._texts[key] = (relation, text)
