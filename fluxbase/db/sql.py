"""Composes SQL from quoted names, text of this program and parameters; values never enter it.

`Sql` can only be made from text known when the program was written (`LiteralString`), from
quoted identifiers, and from `Params`, so a type checker refuses a string that a caller had a
hand in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, LiteralString, NamedTuple, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable

Sql = NewType("Sql", str)


def sql(text: LiteralString) -> Sql:
    """Return text of this program as SQL."""
    return Sql(text)


@lru_cache(maxsize=8192)
def ident(*names: str) -> Sql:
    """Return a quoted, dot-joined identifier: `ident("public", 'a"b')` is `"public"."a""b"`.

    Raises:
        ValueError: a name holds a NUL, which would end the statement there.
    """
    if any("\x00" in name for name in names):
        raise ValueError("a name holds a NUL")
    return Sql(".".join('"' + name.replace('"', '""') + '"' for name in names))


def concat(*parts: Sql) -> Sql:
    """Return the parts one after another."""
    return Sql("".join(parts))


def join(separator: LiteralString, parts: Iterable[Sql]) -> Sql:
    """Return the parts with `separator` between them."""
    return Sql(separator.join(parts))


def number(value: int) -> Sql:
    """Return a whole number as SQL, where a parameter would hide it from the planner."""
    return Sql(str(int(value)))


def catalog_type(name: str) -> Sql:
    """Return a type name as the catalog wrote it, which is already quoted."""
    return Sql(name)


def dollar_quoted(text: str, tag: str) -> Sql:
    """Return `text` as a literal that no setting of the session can change the meaning of.

    Args:
        text: any text; it must not hold the tag.
        tag: letters and digits that a caller cannot guess.

    Raises:
        ValueError: the tag occurs in the text, or the text holds a NUL.
    """
    if f"${tag}$" in text or "\x00" in text:
        raise ValueError("text cannot be quoted with this tag")
    return Sql(f"${tag}${text}${tag}$")


def hex_text(text: str | None) -> Sql:
    """Return an expression for `text` that is made of hexadecimal digits alone.

    For the few statements that cannot have parameters because they are several in one message.
    """
    if text is None:
        return Sql("NULL")
    return Sql(
        f"pg_catalog.convert_from(pg_catalog.decode('{text.encode().hex()}', 'hex'), 'UTF8')"
    )


@dataclass(slots=True)
class Params:
    """The values of one statement, in order; each use of a value gets its own `$n`."""

    values: list[object] = field(default_factory=list[object])

    def add(self, value: object) -> Sql:
        """Append a value and return its placeholder."""
        self.values.append(value)
        return Sql(f"${len(self.values)}")


class Statement(NamedTuple):
    """SQL text with the values of its parameters."""

    text: Sql
    values: tuple[object, ...] = ()
