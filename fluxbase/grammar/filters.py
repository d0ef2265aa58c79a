"""Reads a filter into conditions: PostgREST's texts, or the same things as plain JSON.

`{"age": "gte.18"}`, `{"age": {"gte": 18}}`, `{"or": "(age.lt.18,age.gt.65)"}` and
`{"or": [{"age": {"lt": 18}}, {"age": {"gt": 65}}]}` all come out as one kind of tree. Nothing is
ever left out: what cannot be read is an error that names the place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast

from fluxbase.grammar import conditions
from fluxbase.grammar.conditions import MAX_CONDITIONS, Operands
from fluxbase.grammar.operators import HINT
from fluxbase.grammar.scan import Scanner
from fluxbase.grammar.tree import Condition, Field, Group, Is, Not
from fluxbase.grammar.words import wrong

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_MAX_DEPTH: Final = 32
_LONGEST_KEPT: Final = 256
_LONGEST_KEY: Final = 4096

Path: TypeAlias = tuple[str, ...]


class Key(NamedTuple):
    """What a name in a filter stands for: a field or a group, of the table that `path` leads to."""

    path: Path
    field: Field | None
    word: Literal["and", "or", "not"] | None = None
    negated: bool = False


@dataclass(slots=True)
class Conditions:
    """Conditions by the path of the embedded table they are of, and their operands by slot."""

    found: dict[Path, list[Condition]] = field(default_factory=dict[Path, "list[Condition]"])
    operands: Operands = field(default_factory=Operands)

    def of(self, path: Path) -> Group:
        """Return the conditions of one table, all of which must hold."""
        return Group("and", tuple(self.found.get(path, ())))

    def read(
        self, filters: Mapping[str, Any], known: Container[str] = (), where: str = "filter"
    ) -> None:
        """Add the conditions of a filter.

        Args:
            filters: conditions by field; all must hold.
            known: names that are columns whatever stands in them.
            where: how errors call the filter.

        Raises:
            InvalidFilter: an operator, a value or a name is wrong; the message tells the place.
        """
        _bounded(len(filters))
        for name, value in filters.items():
            key = Key((), Field(name)) if name in known else _key(name, where)
            self.found.setdefault(key.path, []).extend(
                self._conditions(key, value, f"{where}.{_shown(name)}", 0)
            )

    def _conditions(self, key: Key, value: object, where: str, depth: int) -> list[Condition]:
        if key.word is not None:
            return [self._group(key, value, where, depth)]
        assert key.field is not None  # noqa: S101 - a key is one or the other
        return self._of_field(key.field, value, where)

    def _of_field(self, name: Field, value: object, where: str) -> list[Condition]:
        if isinstance(value, str):
            return [conditions.from_text(name, value, where, self.operands)]
        if isinstance(value, dict):
            return self._of_operators(name, cast("dict[str, object]", value), where)
        if isinstance(value, list):
            listed = _listed(cast("list[object]", value), where)
            return [c for item in listed for c in self._of_field(name, item, where)]
        if value is None:
            self.operands.spend()
            return [Is(name, "null")]
        return [conditions.from_json(name, "eq", value, where, self.operands)]

    def _of_operators(self, name: Field, items: dict[str, object], where: str) -> list[Condition]:
        if not items:
            raise wrong(where, "an empty object says nothing", HINT)
        _bounded(len(items))
        found: list[Condition] = []
        for word, operand in items.items():
            if word == "not" and isinstance(operand, dict):
                inner = self._of_operators(name, cast("dict[str, object]", operand), where)
                found.append(Not(_all(inner)))
            else:
                found.append(conditions.from_json(name, word, operand, where, self.operands))
        return found

    def _group(self, key: Key, value: Any, where: str, depth: int) -> Condition:
        if depth >= _MAX_DEPTH:
            raise wrong("filter", f"groups nested more than {_MAX_DEPTH} deep")
        if _is_repeated(value):
            # The same group given several times, as a URL can: each of them must hold.
            members = cast("list[object]", value)
            _bounded(len(members))
            return _all([self._group(key, member, where, depth) for member in members])
        if isinstance(value, str) and key.word != "not":
            scanner = Scanner(value, where)
            word = cast('Literal["and", "or"]', key.word)
            group: Condition = conditions.group(scanner, word, self.operands, depth)
            if not scanner.at_end:
                raise scanner.wrong("the group has ended, but the text has not")
        else:
            group = self._members(key, value, where, depth)
        return Not(group) if key.negated else group

    def _members(self, key: Key, value: object, where: str, depth: int) -> Condition:
        if key.word == "not" and isinstance(value, dict) and value:
            return Not(_all(self._inner(cast("dict[str, Any]", value), where, depth)))
        if key.word == "not" or not isinstance(value, list | dict) or not value:
            takes = "an object of conditions" if key.word == "not" else "a list of conditions"
            raise wrong(
                where, f"'{key.word}' takes {takes}", 'such as {"or": [{"a": 1}, {"b": 2}]}'
            )
        if isinstance(value, dict):
            listed: list[object] = [{k: v} for k, v in cast("dict[str, object]", value).items()]
        else:
            listed = cast("list[object]", value)
        _bounded(len(listed))
        parts = tuple(
            self._member(member, f"{where}[{place}]", depth) for place, member in enumerate(listed)
        )
        return Group(cast('Literal["and", "or"]', key.word), parts)

    def _member(self, member: object, where: str, depth: int) -> Condition:
        if isinstance(member, str):
            scanner = Scanner(member, where)
            found = conditions.one(scanner, self.operands, depth + 1)
            if not scanner.at_end:
                raise scanner.wrong("the condition has ended, but the text has not")
            return found
        if not isinstance(member, dict) or not member:
            raise wrong(where, "a condition is needed", 'such as {"age": {"gte": 18}}')
        return _all(self._inner(cast("dict[str, Any]", member), where, depth))

    def _inner(self, filters: dict[str, Any], where: str, depth: int) -> list[Condition]:
        _bounded(len(filters))
        found: list[Condition] = []
        for name, value in filters.items():
            key = _key(name, where)
            if key.path:
                raise wrong(
                    f"{where}.{_shown(name)}",
                    "a group holds conditions of one table",
                    "write {'author.or': [...]} for a group about an embedded table",
                )
            found += self._conditions(key, value, f"{where}.{_shown(name)}", depth + 1)
        return found


def _bounded(count: int) -> None:
    if count > MAX_CONDITIONS:
        raise wrong("filter", f"more than {MAX_CONDITIONS} conditions")


def _is_repeated(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    members = cast("list[object]", value)
    return all(isinstance(member, str) and member.startswith("(") for member in members)


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else Group("and", tuple(parts))


def _listed(items: list[object], where: str) -> list[object]:
    """Return the conditions of a list, all of which must hold.

    Raises:
        InvalidFilter: the list is empty, or can only mean something else.
    """
    if not items:
        raise wrong(where, "an empty list says nothing", HINT)
    _bounded(len(items))
    if any(isinstance(item, list) for item in items):
        raise wrong(where, "a list of lists is not a condition", HINT)
    if sum(not isinstance(item, str | dict) for item in items) > 1:
        # A column is never two values at once, so what is meant is any of them.
        raise wrong(where, "a list means that all must hold; for any of them use 'in'")
    return items


def _key(name: str, where: str) -> Key:
    if len(name) <= _LONGEST_KEPT:
        return _kept(name, where)
    if len(name) > _LONGEST_KEY:
        raise wrong(where, f"a name of more than {_LONGEST_KEY} characters")
    return _read_key(name, where)


def _read_key(name: str, where: str) -> Key:
    scanner = Scanner(name, f"{where}, name")
    fields: list[Field] = [scanner.field()]
    while scanner.take("."):
        fields.append(scanner.field())
    if not scanner.at_end:
        raise scanner.wrong(
            "this is not the name of a column", 'put odd names in double quotes: "\\"a.b\\""'
        )
    *path, last = fields
    if any(step.path for step in path):
        raise scanner.wrong("a path into JSON has no columns of its own")
    names = tuple(step.name for step in path)
    if last.name not in ("and", "or", "not") or last.path or name.endswith('"'):
        return Key(names, last)
    if last.name != "not" and names and names[-1] == "not":
        return Key(names[:-1], None, last.name, negated=True)
    return Key(names, None, last.name)


_kept = lru_cache(maxsize=2048)(_read_key)


def _shown(name: str) -> str:
    """Return a name as part of a place; what is long or unprintable is left out."""
    return name if len(name) <= 63 and name.isprintable() else "…"
