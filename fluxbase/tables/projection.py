"""Reads `select`, `returning` and `order`; it must not make SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fluxbase.errors import Forbidden
from fluxbase.tables import words
from fluxbase.tables.plan import Order

if TYPE_CHECKING:
    from fluxbase.db.relation import Visible

_MOST_COLUMNS: Final = 1600  # as many as a table of Postgres can have
_MOST_ORDERS: Final = 32
_DIRECTIONS: Final = ("asc", "desc")
_NULLS: Final[dict[str, Literal["first", "last"]]] = {"nullsfirst": "first", "nullslast": "last"}


def columns(table: Visible, text: str, where: str = "select") -> tuple[str, ...]:
    """Return the columns that `a,b` or `*` names, each once and in the order given.

    Raises:
        InvalidFilter: an item is empty.
        UnknownColumn: a column does not exist for the caller.
        Forbidden: `*` was asked and the caller may read no column at all.
    """
    found: dict[str, None] = {}
    if text.count(",") >= _MOST_COLUMNS:
        raise words.wrong(where, f"more than {_MOST_COLUMNS} columns")
    for item in text.split(","):
        name = item.strip()
        if name == "*":
            found.update(dict.fromkeys(table.readable))
        elif not name:
            raise words.wrong(where, "an item is empty", "write 'id,email' or '*'")
        else:
            name = name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name
            found[words.column(table, name, table.readable, where).name] = None
    if not found:
        raise Forbidden("this caller may not read any column of the table")
    return tuple(found)


def sorting(table: Visible, text: str | None) -> tuple[Order, ...]:
    """Return the sorting of `a.desc,b` or `a desc nullslast, b`.

    Raises:
        InvalidFilter: a word is not a direction.
        UnknownColumn: a column does not exist for the caller.
    """
    if text is None or not text.strip():
        return ()
    if text.count(",") >= _MOST_ORDERS:
        raise words.wrong("order", f"more than {_MOST_ORDERS} columns")
    return tuple(_one(table, item.strip()) for item in text.split(","))


def _one(table: Visible, item: str) -> Order:
    name, *modifiers = item.replace(".", " ").split() or [""]
    if not name:
        raise words.wrong("order", "an item is empty", "write 'created_at.desc,id'")
    column = words.column(table, name, table.readable, "order")
    if column.base in words.UNORDERED:
        raise words.wrong("order", f"a {column.type} column has no order")
    descending, nulls = False, None
    for word in modifiers:
        lower = word.lower()
        if lower in _DIRECTIONS:
            descending = lower == "desc"
        elif lower in _NULLS:
            nulls = _NULLS[lower]
        else:
            near = words.nearest(lower, (*_DIRECTIONS, *_NULLS))
            raise words.wrong("order", f"unknown word {words.shown(word)}{near}")
    return Order(column, descending, nulls)
