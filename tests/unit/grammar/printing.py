"""Writes trees back as a caller would write them: PostgREST's text, or plain JSON for filters.

It must not use the parser; what it writes is what the parser is judged by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from fluxbase.grammar.query import Settings
from fluxbase.grammar.tree import Embed, Field, Is, Not, Pick, Query, Star, Test

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluxbase.grammar.tree import Condition, Item, Sort

Form = Literal["text", "json"]
# What stands in a slot: a text, the items of `in`, those of a quantifier, or a limit.
Value: TypeAlias = str | tuple[str, ...] | list[str] | int

_PLAIN: Final = re.compile(r"[^\W\d]\w*(?: +\w+)*")
_LAST: Final = re.compile(r" (?:asc|desc|nulls ?(?:first|last))$", re.IGNORECASE)
_BARE_ITEM: Final = re.compile(r"[\w:+-](?:[\w:+ -]*[\w:+-])?")
_BARE_OPERAND: Final = re.compile(r"[\w:+-][\w:+ -]*")


class Call(NamedTuple):
    """The arguments of a call."""

    select: str
    filter: dict[str, Any]
    order: str | None
    embed: dict[str, Settings]


def printed(query: Query, operands: Sequence[Value], form: Form = "text") -> Call:
    """Return the arguments that say what a tree says."""
    printer = _Printer(operands, form)
    printer.conditions(query, ())
    return Call(select(query.items), printer.filter, order(query.order), printer.embed)


def select(items: Iterable[Item]) -> str:
    """Return the text of items."""
    return ",".join(_item(item) for item in items)


def order(sorts: Iterable[Sort]) -> str | None:
    """Return the text of a sorting, if there is any."""
    return ",".join(_sort(sort) for sort in sorts) or None


def name(text: str) -> str:
    """Return a name, in quotes unless it can do without."""
    plain = _PLAIN.fullmatch(text) and not _LAST.search(text) and text not in ("and", "or", "not")
    return text if plain else quoted(text)


def quoted(text: str) -> str:
    """Return a text in quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def field_text(of: Field) -> str:
    """Return a column with its path."""
    found = name(of.name)
    for step in of.path:
        key = str(step.key) if isinstance(step.key, int) else name(step.key)
        found += ("->>" if step.text else "->") + key
    return found


def array(items: Iterable[str]) -> str:
    """Return the literal of a Postgres array."""
    return "{" + ",".join(quoted(item) for item in items) + "}"


def _item(item: Item) -> str:
    match item:
        case Star():
            return "*"
        case Pick():
            return _alias(item.alias) + _pick(item)
        case Embed():
            join = f"!{item.join}" if item.join else ""
            hint = f"!{name(item.hint)}" if item.hint else ""
            start = "..." if item.spread else _alias(item.alias)
            return f"{start}{name(item.target)}{join}{hint}({select(item.query.items)})"


def _pick(item: Pick) -> str:
    if item.field is None:
        return "count()" + _cast(item.result_cast)
    found = field_text(item.field) + _cast(item.cast)
    return found + (f".{item.aggregate}()" + _cast(item.result_cast) if item.aggregate else "")


def _alias(alias: str | None) -> str:
    return "" if alias is None else f"{name(alias)}:"


def _cast(kind: str | None) -> str:
    return "" if kind is None else f"::{kind}"


def _sort(sort: Sort) -> str:
    found = field_text(sort.field)
    if sort.relation is not None:
        found = f"{name(sort.relation)}({found})"
    direction = ".desc" if sort.descending else ""
    return found + direction + ("" if sort.nulls is None else f".nulls{sort.nulls}")


@dataclass
class _Printer:
    """Collects the conditions and settings of all tables of a tree."""

    operands: Sequence[Value]
    form: Form
    filter: dict[str, Any] = field(default_factory=dict[str, Any])
    embed: dict[str, Settings] = field(default_factory=dict[str, Settings])

    def conditions(self, query: Query, path: tuple[str, ...]) -> None:
        """Add what is asked of a table and of those embedded in it.

        Tables at an odd depth are asked in the settings of the embedded table, the others by names
        that begin with the path to them, so that both ways are taken.
        """
        within = bool(len(path) % 2)
        own = self._own(query, () if within else path)
        limit = self._number(query.limit)
        offset = self._number(query.offset)
        sorting = order(query.order) if path else None
        if not within:
            self.filter |= own
        if path and (sorting or limit is not None or offset is not None or (within and own)):
            settings = Settings(own if within else None, sorting, limit, offset)
            self.embed[".".join(quoted(part) for part in path)] = settings
        for item in query.items:
            if isinstance(item, Embed):
                self.conditions(item.query, (*path, item.name))

    def _own(self, query: Query, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        prefix = "".join(f"{quoted(part)}." for part in path)
        for part in query.where.parts:
            key, value = self._entry(part)
            key = prefix + key
            while key in found:  # one name can be written in many ways
                key = " " + key
            found[key] = value
        return found

    def _number(self, slot: int | None) -> int | None:
        value = None if slot is None else self.operands[slot]
        assert value is None or isinstance(value, int)
        return value

    def _entry(self, node: Condition) -> tuple[str, Any]:
        """Return a condition as the name and the value that it has in a filter."""
        negated, inner = (True, node.inner) if isinstance(node, Not) else (False, node)
        word = "not." if negated else ""
        if isinstance(inner, Test | Is):
            return _key(inner.field), self._tested(inner, negated)
        assert not isinstance(inner, Not), "no text says it"
        if self.form == "json":
            members = [dict([self._entry(part)]) for part in inner.parts]
            return word + inner.word, members
        return word + inner.word, self._members(inner.parts)

    def _members(self, parts: Iterable[Condition]) -> str:
        return "(" + ",".join(self._member(part) for part in parts) + ")"

    def _member(self, node: Condition) -> str:
        """Return a condition as it stands within a group's text."""
        negated, inner = (True, node.inner) if isinstance(node, Not) else (False, node)
        word = "not." if negated else ""
        if isinstance(inner, Test | Is):
            return f"{field_text(inner.field)}.{word}{self._said(inner, grouped=True)}"
        assert not isinstance(inner, Not), "no text says it"
        return f"{word}{inner.word}{self._members(inner.parts)}"

    def _tested(self, node: Test | Is, negated: bool) -> Any:
        word = "not." if negated else ""
        if self.form == "text":
            return word + self._said(node, grouped=False)
        if isinstance(node, Is):
            truth = {"null": None, "true": True, "false": False}.get(node.truth, node.truth)
            return {f"{word}is": truth}
        value = self.operands[node.slot]
        operand = list(value) if isinstance(value, tuple) else value
        return {word + self._operator(node): operand}

    def _operator(self, node: Test) -> str:
        modifier = node.quantifier
        if node.config is not None:
            return f"{node.operator}({self.operands[node.config]})"
        return node.operator + (f"({modifier})" if modifier else "")

    def _said(self, node: Test | Is, *, grouped: bool) -> str:
        """Return `operator.operand`."""
        if isinstance(node, Is):
            return f"is.{node.truth}"
        value = self.operands[node.slot]
        if isinstance(value, tuple):
            text = "(" + ",".join(_listed(item) for item in value) + ")"
        elif isinstance(value, list):
            text = array(value)
        else:
            text = str(value)
            if grouped and not _BARE_OPERAND.fullmatch(text):
                text = quoted(text)
        return f"{self._operator(node)}.{text}"


def _key(of: Field) -> str:
    return field_text(of)


def _listed(item: str) -> str:
    return item if _BARE_ITEM.fullmatch(item) else quoted(item)
