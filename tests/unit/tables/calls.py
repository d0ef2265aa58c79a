"""Makes calls that fit what a caller sees: its columns, its relations, values of their types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from hypothesis import strategies as st

from fluxbase.grammar import tree
from fluxbase.grammar.operators import QUANTIFIED, TEXT_SEARCH, TRUTHS
from fluxbase.grammar.select import CASTS
from tests.unit.grammar.printing import printed

if TYPE_CHECKING:
    from fluxbase.db.relation import Column, Visible
    from fluxbase.db.sight import Sight
    from tests.unit.grammar.printing import Value

# What no statement may ever hold: operands and JSON keys are made of it wherever their type lets.
MARK: Final = "zqv"
_KEYS: Final = (f"{MARK}_key", f'{MARK}"quote', f"{MARK}'s", 0, -1)
OPERATORS: Final[tuple[tree.Operator, ...]] = get_args(tree.Operator)
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "smallint": ("7", "-1"),
    "integer": ("7", "102", "-1"),
    "bigint": ("7", "9007199254740993"),
    "numeric": ("1.50", "-0.001"),
    "real": ("1.5", "NaN"),
    "double precision": ("0.1", "-Infinity"),
    "boolean": ("true", "f"),
    "date": ("2026-01-15", "infinity"),
    "time without time zone": ("08:30",),
    "timestamp with time zone": ("2026-01-15T08:00:00Z",),
    "timestamp without time zone": ("2026-01-15 08:00",),
    "interval": ("1 day",),
    "uuid": ("00000000-0000-4000-8000-000000000002",),
    "json": (f'{{"{MARK}": [1]}}',),
    "jsonb": (f'{{"{MARK}": [1]}}', "3", f'"{MARK}"', "null"),
    "bytea": ("\\x00ff",),
    "inet": ("10.0.0.1/8",),
    "int4range": ("[1,5)", "empty"),
    "numrange": ("(,2.5]",),
    "daterange": ("[2026-01-01,2026-02-01)",),
    "tsrange": ("[2026-01-01 10:00,2026-01-02 10:00]",),
    "int4multirange": ("{[1,3),[5,8)}", "{}"),
    "plans.place": (f'("{MARK} street",7,1.5)',),
}
# The operators that mostly fit a column; now and then any other is asked, and may be refused.
_ORDERED: Final[tuple[tree.Operator, ...]] = (
    "eq", "neq", "gt", "gte", "lt", "lte", "isdistinct", "in", "like", "ilike",
)  # fmt: skip
_TEXTUAL: Final[tuple[tree.Operator, ...]] = (
    *_ORDERED, "match", "imatch", "fts", "plfts", "phfts", "wfts",
)  # fmt: skip
_PARTS: Final[tuple[tree.Operator, ...]] = ("cs", "cd", "eq", "neq", "isdistinct")
_RANGED: Final[tuple[tree.Operator, ...]] = (
    *_ORDERED, "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj",
)  # fmt: skip
_NUMBERS: Final = ("integer", "bigint", "numeric", "double precision")
_TEXTS: Final = (MARK, f"{MARK}'; DROP TABLE x; --", f'{MARK}"\\ $1 /* */', f"*{MARK}*")


@dataclass
class _Maker:
    """Draws the tree of one call; each operand gets the next slot."""

    draw: st.DrawFn
    sight: Sight
    operands: list[Value] = field(default_factory=list["Value"])
    aliases: int = 0

    def query(self, table: Visible, depth: int) -> tree.Query:
        items, embeds, single = self._items(table, depth)
        parts = [self.condition(table, 2) for _ in range(self._upto(2))]
        if embeds and self._chance(3):
            name = self._of(embeds)
            truth: tree.Truth = self._of(("null", "not_null"))
            parts.append(tree.Is(tree.Field(name), truth))
        grouped = any(isinstance(item, tree.Pick) and item.aggregate for item in items)
        many = self._upto(2) if not grouped or self._chance(8) else 0
        order = tuple(self._sort(table, single) for _ in range(many))
        limit = offset = None
        if depth and self._chance(3):
            limit, offset = self._slot(self._upto(3)), self._slot(self._upto(1))
        return tree.Query(tuple(items), tree.Group("and", tuple(parts)), order, limit, offset)

    def condition(self, table: Visible, depth: int) -> tree.Condition:
        """Return a condition about columns of a table, or a group of them."""
        if depth and self._chance(3):
            parts = tuple(self.condition(table, depth - 1) for _ in range(1 + self._upto(2)))
            found: tree.Condition = tree.Group(self._of(("and", "or")), parts)
        else:
            found = self._test(table)
        return tree.Not(found) if self._chance(4) else found

    def _test(self, table: Visible) -> tree.Condition:
        name, column = self._column(table)
        of = self._field(name, column)
        if self._chance(5):
            boolean = column.base == "boolean" and not of.path
            return tree.Is(of, self._of(TRUTHS if boolean else ("null", "not_null")))
        # `->>` gives text, `->` JSON; without a path it is what the column is.
        kind = ("text" if of.path[-1].text else "jsonb") if of.path else column.base
        operator = self._of(self._operators(column, kind))
        quantifier = None
        if operator in QUANTIFIED and not column.is_array and self._chance(3):
            quantifier = self._of(("any", "all"))
        several = [self._value(column, kind, operator) for _ in range(self._upto(2))]
        value: Value = self._value(column, kind, operator)
        if operator == "in":
            value = tuple(several)
        elif quantifier is not None:
            value = several
        slot = self._slot(value)
        config = None
        if operator in TEXT_SEARCH and self._chance(2):
            config = self._slot(self._of(("english", "pg_catalog.simple")))
        return tree.Test(of, operator, slot, quantifier, config)

    def _operators(self, column: Column, kind: str) -> tuple[tree.Operator, ...]:
        if self._chance(12):
            return OPERATORS
        if kind in ("text", "json", "tsvector"):
            return _TEXTUAL
        if kind == "jsonb" or column.is_array:
            return _PARTS
        return _RANGED if column.category == "R" else _ORDERED

    def _value(self, column: Column, kind: str, operator: tree.Operator) -> str:
        if operator in TEXT_SEARCH:
            return self._of((MARK, f"{MARK} & !fat", "cat"))
        if operator in ("match", "imatch"):
            return self._of((MARK, f"^{MARK}.*$", "[a-c]"))
        if column.is_array and kind == column.base:
            return self._of(("{}", "{1,2}", '{"7"}'))
        if column.values:
            return self._of(column.values)
        return self._of(VALUES.get(kind, _TEXTS))

    def _items(self, table: Visible, depth: int) -> tuple[list[tree.Item], list[str], list[str]]:
        """Return items, the names of the embedded tables, and of those with one row."""
        if self._chance(5):
            return [self._aggregate(table) for _ in range(1 + self._upto(2))], [], []
        items: list[tree.Item] = [self._pick(table) for _ in range(1 + self._upto(2))]
        if self._chance(3):
            items.append(tree.Star())
        embeds: list[str] = []
        single: list[str] = []
        for _ in range(self._upto(2) if depth < 2 else 0):
            embed, to_one = self._embed(table, depth)
            if embed is not None:
                items.append(embed)
                if not embed.spread:
                    embeds.append(embed.name)
                if not embed.spread and (to_one or self._chance(12)):
                    single.append(embed.name)
        return items, embeds, single

    def _embed(self, table: Visible, depth: int) -> tuple[tree.Embed | None, bool]:
        ways = [(t, link.name, True) for link, t in self.sight.references_from(table)]
        for link, source in self.sight.references_to(table):
            ways.append((source, link.name, False))
            ways += [
                (t, source.relation.name, False)
                for other, t in self.sight.references_from(source)
                if other is not link and len(source.relation.primary_key) > 1
            ]
        if not ways:
            return None, False
        target, hint, to_one = self._of(ways)
        name = target.relation.name
        join = self._of((None, None, "inner", "left"))
        query = self.query(target, depth + 1)
        if self._chance(4):
            return tree.Embed(name, query, None, hint, join, spread=True), to_one
        return tree.Embed(name, query, self._alias("e"), hint, join), to_one

    def _pick(self, table: Visible) -> tree.Pick:
        name, column = self._column(table)
        of = self._field(name, column)
        cast = self._cast() if self._chance(6) else None
        return tree.Pick(of, self._alias("a"), cast)

    def _aggregate(self, table: Visible) -> tree.Pick:
        if self._chance(4):
            return tree.Pick(None, self._alias("a"), None, "count", self._of((None, "text")))
        name, column = self._column(table)
        of = self._field(name, column)
        number = column.base in _NUMBERS and not of.path
        few = (None, "count", "sum", "avg", "min", "max") if number else (None, "count")
        aggregate = self._of(few if self._upto(3) else (None, *get_args(tree.Aggregate)))
        cast = self._cast() if self._chance(8) else None
        result = "text" if aggregate and self._chance(4) else None
        return tree.Pick(of, self._alias("a"), cast, aggregate, result)

    def _cast(self) -> str:
        return self._of(("text", "varchar") if self._upto(3) else (*CASTS, "text[]", "int[]"))

    def _sort(self, table: Visible, embeds: list[str]) -> tree.Sort:
        nulls = self._of((None, "first", "last"))
        if embeds and self._chance(2):
            return tree.Sort(tree.Field("id"), self._chance(2), nulls, self._of(embeds))
        name, column = self._column(table)
        return tree.Sort(self._field(name, column), self._chance(2), nulls)

    def _column(self, table: Visible) -> tuple[str, Column]:
        name = self._of((*table.readable, *sorted(table.grant.computed)))
        column = table.column(name)
        assert column is not None
        return name, column

    def _field(self, name: str, column: Column) -> tree.Field:
        steps: list[tree.Step] = []
        if column.base in ("json", "jsonb") or column.category in ("A", "C"):
            steps += [tree.Step(self._of(_KEYS), text=False) for _ in range(self._upto(2))]
            if steps and self._chance(2):
                steps[-1] = tree.Step(steps[-1].key, text=True)
        return tree.Field(name, tuple(steps))

    def _alias(self, start: str) -> str:
        self.aliases += 1
        odd = self._of(("", "", ' "odd"', "$1", "; --", "漢"))
        return f"{start}{self.aliases}{odd}"

    def _slot(self, value: Value) -> int:
        self.operands.append(value)
        return len(self.operands) - 1

    def _of(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def _upto(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def _chance(self, of: int) -> bool:
        """Return true about once in so many times."""
        return self._upto(of - 1) == of - 1


@st.composite
def calls(draw: st.DrawFn, sight: Sight) -> dict[str, Any]:
    """Return arguments of `query_table` for tables of a sight."""
    tables = sorted(sight.tables.values(), key=lambda table: table.relation.name)
    table = draw(st.sampled_from([table for table in tables if table.readable]))
    maker = _Maker(draw, sight)
    query = maker.query(table, 0)
    call = printed(query, maker.operands, draw(st.sampled_from(["text", "json"])))
    found: dict[str, Any] = {"table": table.relation.name, "select": call.select}
    if call.filter:
        found["filter"] = call.filter
    if call.order:
        found["order"] = call.order
        if draw(st.integers(0, 7)) == 0:
            found["after"] = ""
    if call.embed:
        found["embed"] = {
            path: {
                key: value
                for key in ("filter", "order", "limit", "offset")
                if (value := getattr(given, key)) is not None
            }
            for path, given in call.embed.items()
        }
    extras = {
        "count": st.sampled_from([None, "exact", "estimated"]),
        "output": st.sampled_from(["json", "columns", "csv"]),
        "limit": st.integers(1, 5),
        "offset": st.integers(0, 2),
    }
    for name, values in extras.items():
        if draw(st.integers(0, 2)) == 0:
            found[name] = draw(values)
    return found
