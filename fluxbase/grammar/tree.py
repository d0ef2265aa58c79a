"""What a call says, as frozen values: select, filter, order; it must not know any table.

Operands never stand in the tree, only the numbers of their slots, so calls that differ in their
values alone have equal trees, and one plan serves them all. Positions do not count when trees are
compared: they serve the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as member
from typing import Literal, NamedTuple, TypeAlias

Operator = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "isdistinct",
    "like", "ilike", "match", "imatch",
    "in",
    "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj",
    "fts", "plfts", "phfts", "wfts",
]  # fmt: skip
Truth = Literal["null", "true", "false", "unknown", "not_null"]
Quantifier = Literal["any", "all"]
Aggregate = Literal["count", "sum", "avg", "min", "max"]
Nulls = Literal["first", "last"]


class Step(NamedTuple):
    """One step into a JSON value: a name or a place; `text` when it gives text (`->>`)."""

    key: str | int
    text: bool


class Field(NamedTuple):
    """A column, or a place within its JSON value."""

    name: str
    path: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Test:
    """`field operator operand`; `config` is the slot of a text search configuration's name."""

    field: Field
    operator: Operator
    slot: int
    quantifier: Quantifier | None = None
    config: int | None = None


@dataclass(frozen=True, slots=True)
class Is:
    """`field IS truth`; the field may be the name of an embedded table, which is there or not."""

    field: Field
    truth: Truth


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class Group:
    """All of the conditions (`and`), or at least one of them (`or`)."""

    word: Literal["and", "or"]
    parts: tuple[Condition, ...]


Condition: TypeAlias = Test | Is | Not | Group
NOTHING = Group("and", ())


@dataclass(frozen=True, slots=True)
class Star:
    """Every column that the caller may read."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One column of the answer; without a field it is the number of rows (`count()`)."""

    field: Field | None
    alias: str | None = None
    cast: str | None = None
    aggregate: Aggregate | None = None
    result_cast: str | None = None
    at: int = member(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sort:
    """One thing to sort by; `relation` names the embedded table that the field is of."""

    field: Field
    descending: bool = False
    nulls: Nulls | None = None
    relation: str | None = None
    at: int = member(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one table; `limit` and `offset` are slots."""

    items: tuple[Item, ...]
    where: Group = NOTHING
    order: tuple[Sort, ...] = ()
    limit: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """Rows of a related table within each row."""

    target: str
    query: Query
    alias: str | None = None
    hint: str | None = None
    join: Literal["inner", "left"] | None = None
    spread: bool = False
    at: int = member(default=0, compare=False)

    @property
    def name(self) -> str:
        """Return the name under which the rows stand in the answer, and conditions name them."""
        return self.alias or self.target


Item: TypeAlias = Star | Pick | Embed
