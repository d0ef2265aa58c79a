"""Makes any tree that a call can say, with the operands of its slots."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from hypothesis import strategies as st

from fluxbase.grammar.operators import QUANTIFIED, TEXT_SEARCH, TRUTHS
from fluxbase.grammar.select import CASTS
from fluxbase.grammar.tree import (
    Aggregate,
    Embed,
    Field,
    Group,
    Is,
    Not,
    Operator,
    Pick,
    Query,
    Sort,
    Star,
    Step,
    Test,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.grammar.tree import Condition, Item, Quantifier
    from tests.unit.grammar.printing import Value

MARKS: Final = " \t\n\"'\\.,:;!*()[]{}<>-=+/%$&|~^@#?_`\x01\x7f☃éß漢\U0001f600aZ09"
_WORDS: Final = (
    "id", "name", "a b", "and", "or", "not.and", "desc", "a desc", "inner", "left", "count", "sum",
    "->", "a->b", "a.b", "*", "...", "...a", "a::text", "a:b", "!inner", "()", "is", "null", "0",
    "12", "1a", "über", "sp ", " sp", 'say "hi"', "\\", '\\"', "'", "a,b", "Ñandú",
    "a nulls first,b", "a nulls last", "- >",
)  # fmt: skip
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)

_ANY: Final = st.text(st.characters(exclude_characters="\x00"), max_size=5)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")  # stands in values and JSON keys, not in names

# As a key may be: it stands in quotes where it must. A group hangs on `not` as on a negation.
_keys = st.one_of(
    st.sampled_from(_WORDS), st.text(MARKS, min_size=1, max_size=6), _ANY.filter(bool)
).filter(lambda text: text != "not")
names = _keys.filter(lambda text: not _CONTROL.search(text))
texts = st.one_of(st.text(MARKS, max_size=8), _ANY, st.sampled_from(_WORDS))
_configs = st.sampled_from(["english", "simple", "_x$9", "A" * 63, "or", "any"])
_quantifiers: st.SearchStrategy[Quantifier | None] = st.sampled_from([None, None, "any", "all"])
_joins: st.SearchStrategy[Literal["inner", "left"] | None] = st.sampled_from(
    ["inner", "left", None]
)
_casts = st.sampled_from([*CASTS, *(f"{cast}[]" for cast in CASTS)])


class Said(NamedTuple):
    """A tree and what stands in its slots."""

    tree: Query
    operands: list[Value]


@dataclass
class _Maker:
    """Draws one tree; each operand that it draws gets the next slot."""

    draw: st.DrawFn
    operands: list[Value] = field(default_factory=list["Value"])

    def query(self, depth: int) -> Query:
        """Return what is asked of one table."""
        items = tuple(self._items(depth))
        where = Group("and", tuple(self.condition(2) for _ in range(self._upto(2))))
        if depth == 0:
            return Query(items, where, self._order())
        limit, offset = self._number(), self._number()
        return Query(items, where, self._order(), limit, offset)

    def condition(self, depth: int) -> Condition:
        """Return a condition, or a group of them; only what is not negated yet is negated."""
        draw = self.draw
        if depth and self._upto(2) == 0:
            parts = tuple(self.condition(depth - 1) for _ in range(1 + self._upto(2)))
            found: Condition = Group(draw(st.sampled_from(["and", "or"])), parts)
        elif self._upto(3) == 0:
            found = Is(draw(fields()), draw(st.sampled_from(TRUTHS)))
        else:
            found = self._test()
        return Not(found) if draw(st.booleans()) else found

    def _test(self) -> Test:
        draw = self.draw
        operator = draw(st.sampled_from(OPERATORS))
        quantifier: Quantifier | None = None
        if operator in QUANTIFIED:
            quantifier = draw(_quantifiers)
        value: Value = draw(texts)
        if operator == "in":
            value = tuple(draw(st.lists(texts, max_size=3)))
        elif quantifier is not None:
            value = draw(st.lists(texts, max_size=3))
        slot = self._slot(value)
        config = None
        if operator in TEXT_SEARCH and draw(st.booleans()):
            config = self._slot(draw(_configs))
        return Test(draw(fields()), operator, slot, quantifier, config)

    def _items(self, depth: int) -> list[Item]:
        found: list[Item] = []
        taken: set[str] = set()
        for _ in range(0 if depth and self._upto(4) == 0 else 1 + self._upto(2)):
            kind = self._upto(5)
            if kind == 0:
                found.append(Star())
            elif kind == 1 and depth < 3:
                self._add_embed(found, taken, depth)
            else:
                found.append(self._pick())
        return found or ([Star()] if depth == 0 else [])

    def _add_embed(self, found: list[Item], taken: set[str], depth: int) -> None:
        embed = self._embed(depth)
        called = {embed.target, embed.name}
        # `count()` counts rows, so a table of that name needs something within or beside it.
        counts = embed.target == "count" and not (embed.query.items or embed.hint or embed.join)
        # A name in a filter means the first table that it could mean.
        if not counts and not called & taken:
            taken |= called
            found.append(embed)

    def _embed(self, depth: int) -> Embed:
        draw = self.draw
        spread = draw(st.booleans())
        join = draw(_joins)
        hint = draw(st.none() | names)
        if hint in ("inner", "left") and join is None:
            join = "left"  # alone such a word says how to join
        alias = None if spread else draw(st.none() | names)
        return Embed(draw(names), self.query(depth + 1), alias, hint, join, spread)

    def _pick(self) -> Pick:
        draw = self.draw
        alias = draw(st.none() | names)
        if self._upto(5) == 0:
            return Pick(None, alias, None, "count", draw(st.none() | _casts))
        aggregate = draw(st.none() | st.sampled_from(get_args(Aggregate)))
        result = draw(st.none() | _casts) if aggregate else None
        return Pick(draw(fields()), alias, draw(st.none() | _casts), aggregate, result)

    def _order(self) -> tuple[Sort, ...]:
        return tuple(self.draw(st.lists(sorts(), max_size=2)))

    def _number(self) -> int | None:
        value = self.draw(st.none() | st.integers(0, 9))
        return None if value is None else self._slot(value)

    def _slot(self, value: Value) -> int:
        self.operands.append(value)
        return len(self.operands) - 1

    def _upto(self, most: int) -> int:
        return self.draw(st.integers(0, most))


@st.composite
def trees(draw: st.DrawFn) -> Said:
    """Return any tree, with its operands."""
    maker = _Maker(draw)
    return Said(maker.query(0), maker.operands)


@st.composite
def wheres(draw: st.DrawFn) -> Said:
    """Return a tree that is all conditions."""
    maker = _Maker(draw)
    parts = tuple(maker.condition(4) for _ in range(draw(st.integers(1, 3))))
    return Said(Query((Star(),), Group("and", parts)), maker.operands)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """Return a column, now and then with a path; text has no parts, so `->>` is last."""
    keys = draw(st.lists(st.integers(-99, 999) | _keys, max_size=2))
    steps = [Step(key, text=False) for key in keys]
    if steps and draw(st.booleans()):
        steps[-1] = Step(steps[-1].key, text=True)
    return Field(draw(names), tuple(steps))


def sorts() -> st.SearchStrategy[Sort]:
    """Return any way to sort by one thing."""
    nulls = st.sampled_from([None, "first", "last"])
    return st.builds(Sort, fields(), st.booleans(), nulls, st.none() | names)


def settled(tree: Query, operands: Sequence[object]) -> tuple[Query, list[object]]:
    """Return a tree with its slots numbered as they stand in it, and its operands in that order.

    So two trees are equal when they say the same, in whatever order their operands were read.
    """
    settler = _Settler(operands)
    return settler.query(tree), settler.found


class _Settler:
    """Numbers slots anew."""

    def __init__(self, operands: Sequence[object]) -> None:
        self.operands = operands
        self.found: list[object] = []

    def query(self, node: Query) -> Query:
        parts = tuple(self.condition(part) for part in node.where.parts)
        limit = None if node.limit is None else self._slot(node.limit)
        offset = None if node.offset is None else self._slot(node.offset)
        items = tuple(
            replace(item, query=self.query(item.query)) if isinstance(item, Embed) else item
            for item in node.items
        )
        return Query(items, Group("and", parts), node.order, limit, offset)

    def condition(self, node: Condition) -> Condition:
        match node:
            case Test():
                slot = self._slot(node.slot)
                config = None if node.config is None else self._slot(node.config)
                return replace(node, slot=slot, config=config)
            case Is():
                return node
            case Not(inner):
                return Not(self.condition(inner))
            case Group(word, parts):
                return Group(word, tuple(self.condition(part) for part in parts))

    def _slot(self, number: int) -> int:
        self.found.append(self.operands[number])
        return len(self.found) - 1
