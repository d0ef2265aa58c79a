"""Finds the columns of a search, and writes a vector as its column takes it; knows no search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.errors import InvalidArgument, UnknownColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.relation import Column, Visible

KINDS: Final = frozenset({"vector", "halfvec", "sparsevec"})
_MOST_NUMBERS: Final = 16_000


def vector_column(table: Visible, name: str | None) -> Column:
    """Return the column of vectors that is meant; without a name, the one that there is.

    Raises:
        UnknownColumn: there is none of that name for the caller.
        InvalidArgument: it holds no vectors, or there are several.
    """
    vectors = [column for column in _readable(table) if column.base in KINDS]
    if name is None:
        if len(vectors) != 1:
            known = ", ".join(column.name for column in vectors) or "none"
            raise InvalidArgument(f"column: which column of vectors? There is: {known}")
        return vectors[0]
    column = table.column(name)
    if column is None:
        raise UnknownColumn("column: no such column", hint="describe_table lists the columns")
    if column.base not in KINDS:
        raise InvalidArgument("column: it holds no vectors")
    return column


def text_column(table: Visible, name: str | None) -> Column:
    """Return the column of texts that is meant; see `vector_column`."""
    if name is None:
        readable = [
            table.relation.columns[n] for n in table.readable if n in table.relation.columns
        ]
        texts = [c for c in readable if c.base in ("text", "varchar") and not c.is_array]
        if len(texts) != 1:
            known = ", ".join(column.name for column in texts) or "none"
            raise InvalidArgument(f"text_column: which column of texts? There is: {known}")
        return texts[0]
    column = table.column(name)
    if column is None:
        raise UnknownColumn("text_column: no such column", hint="describe_table lists the columns")
    if column.category != "S":
        raise InvalidArgument("text_column: it holds no text")
    return column


def written(vector: Sequence[float], column: Column) -> str:
    """Return a vector as text.

    Raises:
        InvalidArgument: it has no numbers, or too many.
    """
    if not 1 <= len(vector) <= _MOST_NUMBERS:
        raise InvalidArgument(f"embedding: 1 to {_MOST_NUMBERS} numbers are expected")
    if column.base == "sparsevec":
        pairs = ",".join(f"{n}:{v!r}" for n, v in enumerate(vector, 1) if v)
        return f"{{{pairs}}}/{len(vector)}"
    return "[" + ",".join(repr(float(v)) for v in vector) + "]"


def _readable(table: Visible) -> list[Column]:
    columns = table.relation.columns
    return [columns[name] for name in table.readable if name in columns]
