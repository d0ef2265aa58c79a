"""Reads one statement, judges what it is made of, and writes it anew; it must not run anything.

What runs is not the text that came but what the tree of it says, so that nothing can hide between
two readings of one text. Names of tables are held against the catalog as the caller sees it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from fluxbase.errors import Forbidden, InvalidArgument, UnknownTable
from fluxbase.sql.values import bind
from fluxbase.sql.words import FUNCTIONS, OPERATORS, QUALIFIED, REFUSED_TYPES, SYNTAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbase.db.relation import Visible

# It logs what it cannot read, which is what a caller wrote.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_LONGEST: Final = 100_000
_MOST_NODES: Final = 20_000
_HEAD: Final = re.compile(r"\s*([A-Za-z_][A-Za-z_0-9]*)\s*\(")
_READS: Final = (exp.Select, exp.SetOperation, exp.Values, exp.Subquery)
_WRITES: Final = (exp.Insert, exp.Update, exp.Delete)


class RefusedSql(Forbidden):
    """The statement holds something that free SQL may not."""

    title = "The statement holds something that is not allowed"


@dataclass(frozen=True, slots=True)
class Judged:
    """A statement that may run: its text, written anew, its values, and what it is."""

    text: str
    tables: tuple[str, ...]
    values: tuple[Any, ...]
    writes: bool
    returns_rows: bool


def judge(
    text: str,
    params: Sequence[object],
    seen: Mapping[tuple[str, str], Visible],
    schemas: tuple[str, ...],
    *,
    write: bool,
) -> Judged:
    """Return the one statement in a text, when it may run.

    Args:
        text: what the caller wrote.
        params: the values of $1, $2 and so on.
        seen: the tables of the caller, by schema and name.
        schemas: where a table without a schema is looked for, in this order.
        write: whether it may change rows.

    Raises:
        InvalidArgument: it cannot be read, or is not one statement.
        RefusedSql: it is of a kind, or holds a function or type, that is not allowed.
        UnknownTable: it names a table that is not there for the caller.
    """
    tree = _parsed(text)
    writes = isinstance(tree, _WRITES)
    if not writes and not isinstance(tree, _READS):
        raise RefusedSql(
            "only SELECT may be run" + (", INSERT, UPDATE and DELETE" if write else "")
        )
    if writes and not write:
        raise RefusedSql(
            "the statement changes rows",
            hint="set write: true; the scope execute:sql_write is needed",
        )
    nodes = list(tree.walk())
    if len(nodes) > _MOST_NODES:
        raise InvalidArgument("sql: the statement is too long")
    for node in nodes:
        _check(node, tree)
    tables = _tables(tree, seen, schemas)
    values = bind(tree, params)
    returning = tree.args.get("returning") is not None
    return Judged(
        tree.sql(dialect="postgres", comments=False),
        tuple(tables),
        tuple(values),
        writes,
        returning or not writes,
    )


def _parsed(text: str) -> exp.Expr:
    if len(text) > _LONGEST or "\x00" in text:
        raise InvalidArgument(f"sql: at most {_LONGEST} characters of text are read")
    dialect = sqlglot.Dialect.get_or_raise("postgres")
    try:
        tokens = dialect.tokenize(text)
        # It would be read as another operator than Postgres knows it as.
        if any(token.token_type is TokenType.NULLSAFE_EQ for token in tokens):
            raise RefusedSql("the operator <=> is not read here", hint="use cosine_distance(a, b)")
        trees = [tree for tree in dialect.parser().parse(tokens, text) if tree is not None]
    except SqlglotError as error:
        raise InvalidArgument(f"sql: {_place(error)}") from None
    except RecursionError:
        raise InvalidArgument("sql: the statement is nested too deeply") from None
    if len(trees) != 1:
        raise InvalidArgument("sql: exactly one statement is expected")
    return trees[0]


def _place(error: SqlglotError) -> str:
    details: list[dict[str, Any]] = getattr(error, "errors", [])
    if details and details[0].get("line") is not None:
        first = details[0]
        return f"the statement cannot be read at line {first['line']}, column {first['col']}"
    return "the statement cannot be read"


def _check(node: exp.Expr, root: exp.Expr) -> None:
    kind = type(node).__name__
    if isinstance(node, exp.Func):
        _check_function(node)
    elif kind not in SYNTAX:
        raise RefusedSql(f"this part of a statement is not allowed here: {_plain(kind)}")
    if isinstance(node, exp.DataType):
        _check_type(node)
    if isinstance(node, _WRITES) and node is not root:
        raise RefusedSql("a statement within the statement may not change rows")
    if isinstance(node, exp.Select) and (node.args.get("into") or node.args.get("locks")):
        raise RefusedSql("SELECT may neither make tables (INTO) nor lock rows (FOR UPDATE)")
    if isinstance(node, exp.Insert) and node.args.get("overwrite"):
        raise RefusedSql("INSERT OVERWRITE is not allowed")


def _check_function(node: exp.Func) -> None:
    if isinstance(node, exp.Anonymous):
        name = node.name.lower()
        parent = node.parent
        if isinstance(parent, exp.Dot):
            name = f"{parent.this.sql(dialect='postgres').lower()}.{name}"
            if name in QUALIFIED:
                return
        elif name in FUNCTIONS and isinstance(node.this, str):
            return
    else:
        head = _HEAD.match(node.sql(dialect="postgres", comments=False))
        name = head[1].lower() if head else type(node).__name__
        # The tree calls some operators functions; those begin with what they stand between.
        if type(node).__name__ in OPERATORS or (head and name in FUNCTIONS):
            return
    raise RefusedSql(f"the function {_plain(name)} is not allowed here")


def _check_type(node: exp.DataType) -> None:
    name = node.sql(dialect="postgres").lower().lstrip('"')
    if name.startswith(REFUSED_TYPES):
        raise RefusedSql("this type is not allowed here: it looks things up in the catalog")


def _tables(
    tree: exp.Expr,
    seen: Mapping[tuple[str, str], Visible],
    schemas: tuple[str, ...],
) -> list[str]:
    found: dict[str, None] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function that gives rows, which was judged as one
        name, schema = _folded(table.this), table.args.get("db")
        if table.args.get("catalog"):
            raise UnknownTable
        if schema is None and _is_cte(table, name):
            continue
        places = (_folded(schema),) if schema is not None else schemas
        place = next((s for s in places if (s, name) in seen), None)
        if place is None:
            raise UnknownTable("no such table", hint="list_tables shows the tables there are")
        # With its schema it means the same on every search path.
        table.set("db", exp.to_identifier(place, quoted=True))
        table.set("this", exp.to_identifier(name, quoted=True))
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
        found[f"{place}.{name}"] = None
    return list(found)


def _is_cte(table: exp.Table, name: str) -> bool:
    """Return whether a name means a WITH query where it stands, by Postgres' rules of sight.

    A WITH query is seen in its statement and, unless the WITH is RECURSIVE, in those after it. Seen
    anywhere else its name would mean a table, which must then be one of the caller's.
    """
    node: exp.Expr | None = table
    inside: exp.Expr | None = None
    while node is not None:
        if isinstance(node, exp.CTE):
            inside = node
        parent = node.parent
        with_ = parent.args.get("with_") if parent is not None else None
        if with_ is not None:
            queries: list[exp.Expr] = with_.expressions
            if node is with_ and inside is not None and not with_.args.get("recursive"):
                queries = queries[: queries.index(inside)]
            if any(_folded(query.args["alias"].this) == name for query in queries):
                return True
        node = parent
    return False


def _folded(name: exp.Expr) -> str:
    quoted = isinstance(name, exp.Identifier) and name.args.get("quoted")
    return name.name if quoted else name.name.lower()


def _plain(word: str) -> str:
    return word if len(word) <= 64 and word.replace(".", "").replace("_", "").isalnum() else "(?)"
