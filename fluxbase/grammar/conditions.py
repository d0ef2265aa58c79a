"""Reads one condition or one group of them: `age.gte.18`, `not.or(a.eq.1,b.is.null)`.

It must not know tables: an operand stays as it was given until the column it is compared with is
known.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from fluxbase.grammar.operators import (
    HINT,
    MEANT,
    OPERATORS,
    QUANTIFIED,
    TEXT_SEARCH,
    TRUTHS,
)
from fluxbase.grammar.tree import Condition, Field, Group, Is, Not, Operator, Quantifier, Test
from fluxbase.grammar.words import nearest, shown, wrong

if TYPE_CHECKING:
    from fluxbase.grammar.scan import Scanner

MAX_CONDITIONS: Final = 200
_MAX_ITEMS: Final = 10_000
_MAX_ESCAPES: Final = 10_000
_MAX_LIST: Final = 1_000_000
_MAX_DEPTH: Final = 32
_MAX_HEAD: Final = 100
_HEAD: Final = re.compile(r"(not\.)?([^.()]*+)(?:\(([^()]*+)\))?(\.)?")
_WORD: Final = re.compile(r"(not\.)?([^.()]*+)(?:\(([^()]*+)\))?\Z")
# Without a schema: whether one exists is nothing that a caller should learn.
_CONFIG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}\Z")
# An item in quotes, or one without any; then a comma or the end. Possessive throughout: with
# backtracking, a megabyte of blanks would keep the server busy for hours.
_ITEM: Final = re.compile(r'\s*+(?:"((?:[^"\\]|\\.)*+)"\s*+|([^",]*+))(?=,|\Z)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_GROUP: Final = re.compile(r"(not\.)?(and|or)\s*+(?=\()")
_IN_GROUP: Final = re.compile(r"[^,)]*+")
_LIST: Final = re.compile(r'\((?:[^"()\\]|\\.|"(?:[^"\\]|\\.)*+")*+\)', re.DOTALL)
_BRACES: Final = re.compile(r'[^"{}\[\]\\]++|\\.|"(?:[^"\\]|\\.)*+"|([{\[])|([}\]])', re.DOTALL)


class Operand(NamedTuple):
    """What a field is compared with: a text, items of a list, or a JSON value; and its place."""

    value: object
    where: str
    is_json: bool = False


class Operands(list[Operand]):
    """The operands of one call by slot, and how much of what a call may ask for is used up."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions = 0
        self.items = 0

    def spend(self, items: int = 0) -> None:
        """Count one more condition, and the items of its list.

        Raises:
            InvalidFilter: a call has no more of them.
        """
        self.conditions += 1
        self.items += items
        if self.conditions > MAX_CONDITIONS:
            raise wrong("filter", f"more than {MAX_CONDITIONS} conditions")
        if self.items > _MAX_ITEMS:
            raise wrong("filter", f"more than {_MAX_ITEMS} items in all lists")


class _Word(NamedTuple):
    """`not.like(any)` taken apart."""

    negated: bool
    operator: str
    quantifier: Quantifier | None
    config: str | None


def from_text(field: Field, text: str, where: str, operands: Operands) -> Condition:
    """Return the condition that `operator.value` says of a field.

    Raises:
        InvalidFilter: the operator is unknown, or does not take this value.
    """
    head = _HEAD.match(text)
    if head is None or not head.group(4):
        raise wrong(where, "an operator is missing", HINT)
    if head.end() - len(head.group(4)) > _MAX_HEAD:
        raise wrong(where, "unknown operator", HINT)
    word = _word(text[: head.end() - 1], where)
    rest = text[head.end() :]
    if word.operator in ("in", "nin"):
        return _compare(field, word, _items(rest, where), where, operands)
    if word.operator in ("is", "isnot"):
        return _truth(field, word, rest.lower(), where, operands)
    return _compare(field, word, rest, where, operands)


def from_json(field: Field, name: str, value: object, where: str, operands: Operands) -> Condition:
    """Return the condition that `{operator: value}` says of a field.

    Raises:
        InvalidFilter: the operator is unknown, or does not take this value.
    """
    word = _word(name, where)
    if word.operator in ("in", "nin"):
        values = _values(value, word.operator, where)
        return _compare(field, word, values, where, operands, is_json=True)
    if word.operator in ("is", "isnot"):
        return _truth(field, word, _truth_word(value), where, operands)
    if value is None:
        raise wrong(where, f"null has no order; use 'is' instead of '{word.operator}'", HINT)
    if word.quantifier and not _is_list(value):
        raise wrong(where, f"'{word.operator}({word.quantifier})' needs a list", HINT)
    return _compare(field, word, value, where, operands, is_json=True)


def group(
    scanner: Scanner, word: Literal["and", "or"], operands: Operands, depth: int = 0
) -> Condition:
    """Return the group whose members stand in parentheses here.

    Raises:
        InvalidFilter: the text is not well formed; the message tells the character.
    """
    if depth >= _MAX_DEPTH:
        raise wrong("filter", f"groups nested more than {_MAX_DEPTH} deep")
    scanner.expect("(", f"'{word}' takes a list in parentheses, such as (age.lt.18,age.gt.65)")
    parts = [one(scanner, operands, depth + 1)]
    while scanner.take(","):
        parts.append(one(scanner, operands, depth + 1))
    scanner.expect(")", "')' or ',' is missing")
    return Group(word, tuple(parts))


def one(scanner: Scanner, operands: Operands, depth: int = 0) -> Condition:
    """Return the condition or group that stands here: `age.gte.18`, `not.and(…)`.

    Raises:
        InvalidFilter: the text is not well formed; the message tells the character.
    """
    scanner.blanks()
    found = _GROUP.match(scanner.text, scanner.place)
    if found:
        scanner.place = found.end()
        word = cast('Literal["and", "or"]', found.group(2))
        inner = group(scanner, word, operands, depth)
        return Not(inner) if found.group(1) else inner
    field = scanner.field()
    scanner.expect(".", "an operator is missing")
    at = scanner.place
    head = _HEAD.match(scanner.text, at)
    if head is None or not head.group(4) or head.end() - at > _MAX_HEAD:
        raise scanner.wrong("an operator is missing", HINT)
    where = f"{scanner.where}, character {at + 1}"
    word_ = _word(head.group()[:-1], where)
    scanner.place = head.end()
    if word_.operator in ("in", "nin"):
        text = scanner.matched(_LIST)
        return _compare(field, word_, _items(text or "", where), where, operands)
    text = _value(scanner)
    if word_.operator in ("is", "isnot"):
        return _truth(field, word_, text.lower(), where, operands)
    return _compare(field, word_, text, where, operands)


@lru_cache(maxsize=1024)
def _known(text: str) -> _Word | None:
    """Return the parts of an operator's word, or nothing when it is none."""
    found = _WORD.match(text)
    if found is None:
        return None
    negated, name, modifier = found.groups()
    if name not in OPERATORS:
        return None
    quantifier: Quantifier | None = None
    config = None
    if modifier is not None:
        if name in TEXT_SEARCH and _CONFIG.match(modifier):
            config = modifier
        elif name in QUANTIFIED and modifier in ("any", "all"):
            quantifier = modifier
        else:
            return None
    opposite = {"isnot": "is", "nin": "in"}.get(name)
    return _Word(bool(negated) != bool(opposite), opposite or name, quantifier, config)


def _word(text: str, where: str) -> _Word:
    word = _known(text) if len(text) <= _MAX_HEAD else None
    if word is not None:
        return word
    name = text.removeprefix("not.").partition("(")[0]
    if name in OPERATORS:
        if name in TEXT_SEARCH:
            takes = "the name of a text search configuration, such as fts(english)"
        elif name in QUANTIFIED:
            takes = "'any' or 'all', such as eq(any)"
        else:
            takes = "nothing in parentheses"
        raise wrong(where, f"'{name}' takes {takes}")
    meant = MEANT.get(name.lower())
    near = f"; did you mean '{meant}'?" if meant else nearest(name.lower(), OPERATORS)
    raise wrong(where, f"unknown operator {shown(name)}{near}", HINT)


def _compare(
    field: Field,
    word: _Word,
    value: object,
    where: str,
    operands: Operands,
    *,
    is_json: bool = False,
) -> Condition:
    operands.spend(len(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else 0)
    slot = len(operands)
    operands.append(Operand(cast("object", value), where, is_json))
    config = None
    if word.config is not None:
        config = len(operands)
        operands.append(Operand(word.config, where))
    test = Test(field, cast("Operator", word.operator), slot, word.quantifier, config)
    return Not(test) if word.negated else test


def _truth(field: Field, word: _Word, text: str, where: str, operands: Operands) -> Condition:
    operands.spend()
    if text not in TRUTHS:
        raise wrong(where, "'is' takes one of " + ", ".join(TRUTHS))
    condition = Is(field, text)
    return Not(condition) if word.negated else condition


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _truth_word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else value.lower() if isinstance(value, str) else ""


def _values(value: object, operator: str, where: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise wrong(where, f"'{operator}' needs a list", HINT)
    values = cast("list[object]", value)
    if len(values) > _MAX_ITEMS:
        raise wrong(where, f"more than {_MAX_ITEMS} items")
    if any(item is None for item in values):
        raise wrong(where, "null cannot stand in a list; use 'is'", HINT)
    return tuple(values)


def _value(scanner: Scanner) -> str:
    """Return the operand in a group: quoted, in braces or brackets, or up to a comma."""
    if scanner.sees('"'):
        return scanner.quoted()
    if scanner.sees("{") or scanner.sees("["):
        start, depth = scanner.place, 0
        while found := _BRACES.match(scanner.text, scanner.place):
            scanner.place = found.end()
            depth += bool(found.group(1)) - bool(found.group(2))
            if depth == 0 and (found.group(1) or found.group(2)):
                return scanner.text[start : scanner.place]
        raise scanner.wrong("a brace or bracket is not closed", "or quote the value", at=start)
    return scanner.matched(_IN_GROUP) or ""


def _items(text: str, where: str) -> tuple[str, ...]:
    """Return the items of `(a,"b,c",d)`; quotes protect commas, a backslash protects anything."""
    if not (text.startswith("(") and text.endswith(")")):
        raise wrong(where, "a list in parentheses is needed, such as in.(1,2,3)")
    inner = text[1:-1]
    if not inner:
        return ()
    if len(inner) > _MAX_LIST:
        raise wrong(where, f"a list of more than {_MAX_LIST} characters")
    return _split(inner, where)


def _split(inner: str, where: str) -> tuple[str, ...]:
    if inner.count("\\") > _MAX_ESCAPES:
        raise wrong(where, f"more than {_MAX_ESCAPES} backslashes")
    items: list[str] = []
    place = 0
    while True:
        found = _ITEM.match(inner, place)
        if found is None:
            raise wrong(where, "an item of the list is not well quoted")
        quoted, plain = found.groups()
        if len(items) >= _MAX_ITEMS:
            raise wrong(where, f"more than {_MAX_ITEMS} items")
        items.append(plain.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted))
        if found.end() == len(inner):
            return tuple(items)
        place = found.end() + 1
