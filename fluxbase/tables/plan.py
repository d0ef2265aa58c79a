"""What a call asks of tables that are known, as frozen values; without SQL or a database.

A plan holds no operand, only the numbers of their slots, so it serves every call of its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from fluxbase.db.relation import Column, Visible
    from fluxbase.grammar.tree import Aggregate, Nulls, Operator, Quantifier, Step, Truth

Count = Literal["exact", "planned", "estimated"]


@dataclass(frozen=True, slots=True)
class Value:
    """A column of a row, a place within its JSON, or what a function computes of the row.

    `type` is the column as it is after the path: it tells how an operand is read.
    """

    column: Column
    path: tuple[Step, ...]
    type: Column


@dataclass(frozen=True, slots=True)
class Test:
    """`value operator operand`; the operand and a text search configuration are slots."""

    value: Value
    operator: Operator
    slot: int
    quantifier: Quantifier | None
    config: int | None


@dataclass(frozen=True, slots=True)
class Is:
    """`value IS truth`."""

    value: Value
    truth: Truth


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a related row that meets the conditions of its level."""

    relation: Related


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class Group:
    """All of the conditions, or at least one; none at all is true for `and`."""

    word: Literal["and", "or"]
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class After:
    """Rows that stand after a place in the sorting.

    `slots` hold the sort values of that place; `None` marks where its value was null.
    """

    order: tuple[Sort, ...]
    slots: tuple[int | None, ...]


Condition: TypeAlias = Test | Is | Exists | Not | Group | After
ALWAYS = Group("and", ())


@dataclass(frozen=True, slots=True)
class Output:
    """One value of the answer; without a value it is the number of rows."""

    name: str
    value: Value | None
    cast: str | None = None
    aggregate: Aggregate | None = None
    result_cast: str | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """How two tables belong together: pairs of a column here and one there.

    Between the two may stand a junction, whose columns pair with those here and those there.
    """

    pairs: tuple[tuple[str, str], ...]
    many: bool
    junction: Visible | None = None
    beyond: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Related:
    """Rows of a related table within each row; spread ones stand beside the row's own values."""

    name: str
    join: Join
    level: Level
    spread: bool
    inner: bool


@dataclass(frozen=True, slots=True)
class Sort:
    """One thing to sort by: a value of the row, of a related row, or an output by its place."""

    value: Value | None
    descending: bool
    nulls: Nulls | None
    related: Related | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """What is asked of one table."""

    table: Visible
    items: tuple[Output | Related, ...]
    where: Condition
    order: tuple[Sort, ...] = ()
    limit: int | None = None
    offset: int | None = None
    grouped: bool = False

    @property
    def related(self) -> tuple[Related, ...]:
        """Return the related tables whose rows are part of the answer."""
        return tuple(i for i in self.items if isinstance(i, Related) and i.level.items)

    def names(self) -> tuple[str, ...]:
        """Return the names of the answer's values, in order."""
        found: list[str] = []
        for item in self.items:
            if isinstance(item, Output):
                found.append(item.name)
            elif item.level.items:
                found += item.level.names() if item.spread else (item.name,)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Read:
    """A page of rows; `counted` is what a count counts, wherever the page begins.

    `limit` is how many are asked for, where that is part of the shape.
    """

    level: Level
    counted: Level
    count: Count | None = None
    output: Literal["json", "columns", "csv"] = "json"
    keyset: bool = False
    limit: int | None = None
