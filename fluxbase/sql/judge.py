"""Reads one statement, judges what it is made of, and writes it anew; it must not run anything.

What runs is not the text that came but what the tree of it says, so that nothing can hide between
two readings of one text. Names of tables are held against the catalog as the caller sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from fluxbase.errors import InvalidArgument, UnknownTable
from fluxbase.grammar.sql_tree import WRITES, RefusedSql, check_node, parse_sql
from fluxbase.sql.values import bind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxbase.db.relation import Visible

_MOST_NODES: Final = 20_000
_READS: Final = (exp.Select, exp.SetOperation, exp.Values, exp.Subquery)


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
    tree = parse_sql(text)
    writes = isinstance(tree, WRITES)
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
        check_node(node, tree)
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


def _tables(
    tree: exp.Expr,
    seen: Mapping[tuple[str, str], Visible],
    schemas: tuple[str, ...],
) -> list[str]:
    found: dict[str, None] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            if table.args.get("db"):
                raise RefusedSql("a function that gives rows is named without a schema here")
            continue  # it was judged as a function
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
