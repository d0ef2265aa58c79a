"""Reads `select` and `returning`: columns, aliases, casts, aggregates and related tables."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, cast, get_args

from fluxbase.grammar.scan import Scanner
from fluxbase.grammar.tree import Aggregate, Embed, Field, Item, Pick, Query, Star
from fluxbase.grammar.words import nearest, shown, wrong

_MOST_ITEMS: Final = 1600  # as many as a table of Postgres can have columns
_DEEPEST: Final = 32
_KEPT: Final = 512
_LONGEST_KEPT: Final = 2048
_AGGREGATES: Final[tuple[str, ...]] = get_args(Aggregate)
# The types that a caller may ask for: harmless to read a value as, and telling nothing of the
# catalog, as the types of object identifiers (`regclass`) would.
CASTS: Final = (
    "text", "varchar", "smallint", "int2", "integer", "int", "int4", "bigint", "int8", "numeric",
    "decimal", "real", "float4", "double precision", "float8", "boolean", "bool", "date", "time",
    "timetz", "timestamp", "timestamptz", "interval", "uuid", "json", "jsonb", "bytea", "inet",
    "cidr",
)  # fmt: skip


def parse(text: str, where: str = "select") -> tuple[Item, ...]:
    """Return the items of `id, total:amount.sum(), author(name), data->>kind`.

    Source: https://docs.postgrest.org/en/stable/references/api/resource_embedding.html

    Raises:
        InvalidFilter: the text is not well formed; the message tells the character.
    """
    return _kept(text, where) if len(text) <= _LONGEST_KEPT else _parse(text, where)


def _parse(text: str, where: str) -> tuple[Item, ...]:
    if text.count(",") >= _MOST_ITEMS:
        raise wrong(where, f"more than {_MOST_ITEMS} columns")
    scanner = Scanner(text, where)
    items = _items(scanner, 1)
    if not scanner.at_end:
        raise scanner.wrong("a comma is missing", "write 'id,email', '*' or 'author(name)'")
    return items


_kept = lru_cache(maxsize=_KEPT)(_parse)


def _items(scanner: Scanner, depth: int) -> tuple[Item, ...]:
    items: list[Item] = []
    while True:
        scanner.blanks()
        items.append(_item(scanner, depth))
        if not scanner.take(","):
            return tuple(items)


def _item(scanner: Scanner, depth: int) -> Item:
    at = scanner.place
    if scanner.take("*"):
        return Star()
    if scanner.take("..."):
        target = scanner.name("the name of a related table")
        return _embed(scanner, depth, target, None, spread=True, at=at)
    if scanner.at_end or scanner.sees(",") or scanner.sees(")"):
        raise scanner.wrong("an item is empty", "write 'id,email', '*' or 'author(name)'")
    field = scanner.field()
    alias = None
    if not field.path and _takes_colon(scanner):
        alias, field = field.name, scanner.field()
    if not field.path:
        if field.name == "count" and scanner.take("()"):
            return Pick(None, alias, aggregate="count", result_cast=_cast(scanner), at=at)
        scanner.blanks()
        if scanner.sees("!") or scanner.sees("("):
            return _embed(scanner, depth, field.name, alias, at=at)
    return _pick(scanner, field, alias, at)


def _pick(scanner: Scanner, field: Field, alias: str | None, at: int) -> Pick:
    kind = _cast(scanner)
    aggregate = _aggregate(scanner)
    result = _cast(scanner) if aggregate else None
    return Pick(field, alias, kind, aggregate, result, at=at)


def _takes_colon(scanner: Scanner) -> bool:
    scanner.blanks()
    return not scanner.sees("::") and scanner.take(":")


def _modifiers(scanner: Scanner) -> tuple[str | None, Literal["inner", "left"] | None]:
    hint, join = None, None
    while scanner.take("!"):
        at = scanner.place
        word = scanner.name("a relationship's name, 'inner' or 'left'")
        if word in ("inner", "left") and join is None:
            join = word
        elif hint is None:
            hint = word
        else:
            raise scanner.wrong("a second hint", at=at)
    return hint, join


def _embed(
    scanner: Scanner,
    depth: int,
    target: str,
    alias: str | None,
    *,
    at: int,
    spread: bool = False,
) -> Embed:
    hint, join = _modifiers(scanner)
    scanner.expect("(", "'(' is missing after the table's name")
    if depth > _DEEPEST:
        raise scanner.wrong(f"tables nested more than {_DEEPEST} deep")
    scanner.blanks()
    items = () if scanner.sees(")") else _items(scanner, depth + 1)
    scanner.expect(")", "')' is missing")
    return Embed(target, Query(items), alias, hint, join, spread, at)


def _cast(scanner: Scanner) -> str | None:
    scanner.blanks()
    if not scanner.take("::"):
        return None
    at = scanner.place
    word = scanner.name("a type")
    array = word.endswith("[]")
    if word.removesuffix("[]").lower() not in CASTS:
        near = nearest(word.lower(), CASTS)
        hint = "types: " + ", ".join(CASTS)
        raise scanner.wrong(f"no cast to {shown(word)}{near}", hint, at=at)
    return word.removesuffix("[]").lower() + ("[]" if array else "")


def _aggregate(scanner: Scanner) -> Aggregate | None:
    if not scanner.take("."):
        return None
    at = scanner.place
    word = scanner.name("an aggregate")
    if word not in _AGGREGATES:
        hint = "aggregates: amount.sum(), amount.avg(), amount.min(), amount.max(), id.count()"
        near = nearest(word, _AGGREGATES)
        raise scanner.wrong(f"unknown aggregate {shown(word)}{near}", hint, at=at)
    scanner.expect("()", "'()' is missing after the aggregate")
    return cast("Aggregate", word)
