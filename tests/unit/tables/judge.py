"""Judges SQL by a parser that is not ours: what stands in it, and whether all of that may.

A statement may hold the tables, columns and types of its plan, the words of the program, and the
numbers of parameters. Whatever else is found is a fault; so a value of a call, in whatever
disguise, is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from fluxbase.tables.build import ESTIMATED, USUAL
from fluxbase.tables.plan import After, Exists, Group, Is, Not, Output, Test

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlglot.expressions.core import Expr

    from fluxbase.tables.plan import Condition, Level, Related, Value

_DIALECT: Final = "postgres"
# Kinds of nodes, by their classes: sqlglot's words for what Postgres calls string_agg and the like.
_SHAPE: Final = frozenset({
    "Select", "Subquery", "From", "Where", "Group", "Order", "Ordered", "Limit", "Offset",
    "Join", "Lateral", "TableAlias", "Table", "Alias", "Column", "Identifier", "Star", "Paren",
    "Dot", "Cast", "DataType", "Parameter", "Literal", "ByteString", "Boolean", "Null", "Tuple",
    "Case", "If", "Filter", "Window", "Bracket", "Any", "All", "Explain",
})  # fmt: skip
_OPERATORS: Final = frozenset({
    "And", "Or", "Not", "Is", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "NullSafeNEQ", "Like",
    "ILike", "RegexpLike", "RegexpILike", "DPipe", "Add", "Neg", "JSONExtract",
    "JSONExtractScalar", "ArrayContainsAll", "ArrayContainedBy", "ArrayOverlaps", "Adjacent",
    "BitwiseLeftShift", "BitwiseRightShift", "ExtendsLeft", "ExtendsRight", "MatchAgainst",
})  # fmt: skip
_FUNCTIONS: Final = frozenset({
    "Count", "Sum", "Avg", "Min", "Max", "Coalesce", "Exists", "GroupConcat", "ArrayAgg",
    "JSONArrayAgg", "RowNumber", "CurrentUser", "Replace",
})  # fmt: skip
_KINDS: Final = _SHAPE | _OPERATORS | _FUNCTIONS
_ANONYMOUS: Final = frozenset({
    "row_to_json", "octet_length", "json_build_array", "json_each", "json_each_text",
    "to_jsonb", "to_tsvector", "to_tsquery", "plainto_tsquery", "phraseto_tsquery",
    "websearch_to_tsquery", "all", "json_agg",
})  # fmt: skip
# sqlglot counts the items of arrays from 0, so it reads our `[1]` as one less.
_LITERALS: Final = frozenset({
    "", "[", "]", ",", "[]", '"', '""', '[",\r\n]', "\n", "\\n", "\x1e", "\\x1e", "1", "0",
})  # fmt: skip
# Numbers of rows that a statement may be limited to: the only one, or one more than is told of.
_LIMITS: Final = frozenset({"1", *(str(most + 1) for most in (*USUAL, ESTIMATED))})
# What the program itself calls rows and values within a statement.
_WORDS: Final = frozenset({
    "r", "s", "t", "x", "q", "j", "k", "n", "p", "bytes", "seen", "value", "pg_catalog",
})  # fmt: skip
_NUMBERED: Final = re.compile(r"[tck]\d+|n|\x01(?:row|\d+)")
_TYPES: Final = (
    "text",
    "int4",
    "int8",
    "json",
    "text[]",
    "pg_catalog.jsonb",
    "pg_catalog.regconfig",
)
# sqlglot takes `$1::text)->$2` for a text in dollar quotes; Postgres' tags begin with a letter.
_PLACEHOLDER: Final = re.compile(r"""("(?:[^"]|"")*"|'(?:[^']|'')*')|(\$\d+)""")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a statement may name."""

    tables: frozenset[tuple[str, str]]
    names: frozenset[str]
    functions: frozenset[str]
    types: frozenset[str]


@dataclass
class _Names:
    """Collects what a plan names."""

    tables: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    names: set[str] = field(default_factory=set[str])
    functions: set[str] = field(default_factory=set[str])
    types: set[str] = field(default_factory=lambda: {_type(name) for name in _TYPES})

    def level(self, level: Level) -> None:
        relation = level.table.relation
        self.tables.add((relation.schema, relation.name))
        self.condition(level.where)
        for item in level.items:
            if isinstance(item, Output):
                self.names.add(item.name)
                if item.value is not None:
                    self.value(item.value)
            else:
                self.related(item)
        for sort in level.order:
            if sort.value is not None:
                self.value(sort.value)
            if sort.related is not None:
                self.related(sort.related)

    def related(self, item: Related) -> None:
        self.names |= {item.name} | {
            n for pair in (*item.join.pairs, *item.join.beyond) for n in pair
        }
        if item.join.junction is not None:
            relation = item.join.junction.relation
            self.tables.add((relation.schema, relation.name))
        self.level(item.level)

    def condition(self, node: Condition) -> None:
        match node:
            case Test(value) | Is(value):
                self.value(value)
            case Not(inner):
                self.condition(inner)
            case Group(_, parts):
                for part in parts:
                    self.condition(part)
            case Exists(item):
                self.related(item)
            case After(order):
                for sort in order:
                    assert sort.value is not None
                    self.value(sort.value)

    def value(self, value: Value) -> None:
        self.names.add(value.column.name)
        self.types |= {_type(value.type.cast), _type(f"{value.type.cast}[]")}
        if value.column.function is not None:
            self.functions.add(value.column.function.replace('"', ""))


def allowed(levels: Iterable[Level], casts: Iterable[str]) -> Allowed:
    """Return what the statement of a plan may name; `casts` are types that any call may ask for."""
    names = _Names()
    for level in levels:
        names.level(level)
    names.types |= {_type(cast) for cast in casts}
    return Allowed(
        frozenset(names.tables),
        frozenset(names.names),
        frozenset(names.functions),
        frozenset(names.types),
    )


def faults(text: str, may: Allowed, parameters: int) -> list[str]:
    """Return what stands in a statement and should not."""
    spaced = _PLACEHOLDER.sub(lambda found: found.group(1) or f" {found.group(2)} ", text)
    try:
        statements = sqlglot.parse(spaced, dialect=_DIALECT)
    except SqlglotError as error:
        return [f"not read: {error}"]
    if len(statements) != 1 or statements[0] is None:
        return [f"{len(statements)} statements"]
    return [fault for node in statements[0].walk() for fault in _of_node(node, may, parameters)]


def _of_node(node: Expr, may: Allowed, parameters: int) -> Iterator[str]:
    if node.comments:
        yield f"a comment: {node.comments}"
    match node:
        case exp.Anonymous():
            yield from _unless(_called(node), _ANONYMOUS | may.functions, "function")
        case exp.DataType():
            yield from _unless(_plain(node), may.types, "type")
        case exp.Literal() | exp.ByteString():
            yield from _of_literal(node, parameters)
        case exp.Table():
            yield from _of_table(node, may)
        case exp.Identifier():
            yield from _of_identifier(node, may)
        case _:
            yield from _unless(type(node).__name__, _KINDS, "node")


def _unless(name: str, known: frozenset[str], what: str) -> Iterator[str]:
    if name not in known:
        yield f"{what}: {name}"


def _of_literal(node: Expr, parameters: int) -> Iterator[str]:
    text = str(node.this)
    if isinstance(node.parent, exp.Parameter):
        if not text.isdigit() or not 1 <= int(text) <= parameters:
            yield f"parameter: ${text}"
    elif text not in (_LIMITS if _limits(node) else _LITERALS):
        yield f"literal: {text!r}"


def _limits(node: Expr) -> bool:
    """Return whether a number says how many rows there are at most."""
    above = node.parent
    return isinstance(above.parent if isinstance(above, exp.Cast) else above, exp.Limit)


def _of_table(node: exp.Table, may: Allowed) -> Iterator[str]:
    if isinstance(node.this, exp.Func):
        return  # a function as a table is judged as a function
    if (node.db, node.name) not in may.tables or node.catalog:
        yield f"table: {node.db}.{node.name}"


def _of_identifier(node: exp.Identifier, may: Allowed) -> Iterator[str]:
    if node.find_ancestor(exp.DataType) or _names_function(node):
        return
    name = node.name
    if not node.quoted:
        if name not in _WORDS:
            yield f"not quoted: {name}"
    elif not (
        name in may.names or _NUMBERED.fullmatch(name) or any(name in table for table in may.tables)
    ):
        yield f"name: {name!r}"


def _names_function(node: exp.Identifier) -> bool:
    """Return whether this is part of `schema.function(…)`, which is judged as a whole."""
    above = node.find_ancestor(exp.Dot)
    return above is not None and isinstance(above.expression, exp.Anonymous)


def _called(node: exp.Anonymous) -> str:
    above = node.parent
    schema = ""
    if isinstance(above, exp.Dot) and above.expression is node:
        schema = above.this.name + "."
    name = node.name if schema else node.name.lower()
    return schema + name


@lru_cache(maxsize=256)
def _type(name: str) -> str:
    cast = sqlglot.parse_one(f"SELECT a::{name}", dialect=_DIALECT).find(exp.DataType)
    assert cast is not None
    return _plain(cast)


def _plain(kind: exp.DataType) -> str:
    return kind.sql(_DIALECT).replace('"', "").lower()
