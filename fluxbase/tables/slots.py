"""Numbers the parameters of a statement; it must not see a value of a call.

Each operand has a slot. A slot gets its `$n` where SQL first uses it, and keeps it, so what no SQL
uses is not sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from fluxbase.db.sql import Params, Sql, Statement, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbase.grammar.conditions import Operand
    from fluxbase.tables.operands import Binder

# Slots that every page has, beside those of its tree.
LIMIT: Final = -1
OFFSET: Final = -2
MOST: Final = -3
MAX_BYTES: Final = -4


class Constant(NamedTuple):
    """A parameter that belongs to the shape, such as a key on a path into JSON."""

    value: object


class Planned(NamedTuple):
    """A statement of one shape, and where the values of its parameters come from."""

    text: Sql
    sources: tuple[int | Constant, ...]
    binders: Mapping[int, Binder]

    def bind(self, operands: Sequence[Operand], page: Mapping[int, int]) -> Statement:
        """Return the statement of one call.

        Raises:
            InvalidFilter: an operator does not take its operand; the message names the place.
        """
        values: list[object] = []
        for source in self.sources:
            if isinstance(source, Constant):
                values.append(source.value)
            elif source < 0:
                values.append(page[source])
            else:
                binder, operand = self.binders.get(source), operands[source]
                values.append(binder.bind(operand) if binder else operand.value)
        return Statement(self.text, tuple(values))


@dataclass(slots=True)
class Slots:
    """The parameters of a statement that is being written."""

    params: Params = field(default_factory=Params)
    _numbers: dict[int, Sql] = field(default_factory=dict[int, Sql])

    def spell(self, slot: int, value: int) -> None:
        """Have a slot written out, so that Postgres plans for its value once and for all."""
        self._numbers[slot] = number(value)

    def use(self, slot: int) -> Sql:
        """Return the placeholder of a slot, or its value where that is written out."""
        if slot not in self._numbers:
            self._numbers[slot] = self.params.add(slot)
        return self._numbers[slot]

    def constant(self, value: object) -> Sql:
        """Return the placeholder of a value that every call of the shape shares."""
        return self.params.add(Constant(value))

    def planned(self, text: Sql, binders: Mapping[int, Binder]) -> Planned:
        """Return the finished statement."""
        sources = tuple(
            value if isinstance(value, Constant) else _slot(value) for value in self.params.values
        )
        return Planned(text, sources, dict(binders))


def _slot(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a parameter is a slot or a constant")
    return value
