"""What a call asks of a table, as frozen values; without SQL and without a database.

Conditions form a tree, so that groups, negation and further operands can be added as new kinds of
node while everything that walks the tree stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fluxbase.db.relation import Column, Visible

Operator = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "is", "in", "cs", "cd", "ov"
]
Truth = Literal["null", "true", "false", "unknown", "not_null"]
Count = Literal["exact"]


@dataclass(frozen=True, slots=True)
class Compare:
    """`column operator value`; the value is text that Postgres reads as the column's type."""

    column: Column
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Among:
    """`column` is one of `values`."""

    column: Column
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Is:
    """`column IS truth`."""

    column: Column
    truth: Truth


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class All:
    """Every one of the conditions; none at all is true."""

    parts: tuple[Condition, ...]


Condition = Compare | Among | Is | Not | All


@dataclass(frozen=True, slots=True)
class Order:
    """One column to sort by."""

    column: Column
    descending: bool = False
    nulls: Literal["first", "last"] | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A page of rows of one table."""

    table: Visible
    columns: tuple[str, ...]
    where: Condition
    order: tuple[Order, ...]
    limit: int
    offset: int
    count: Count | None
    max_bytes: int
