"""Reads SQL into a tree, and says whether a part of it may be there; it must not know any table.

What is run is never the text that came but what the tree of it says, so that nothing can hide
between two readings of one text.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from fluxbase.errors import Forbidden, InvalidArgument
from fluxbase.grammar.sql_words import FUNCTIONS, OPERATORS, QUALIFIED, REFUSED_TYPES, SYNTAX

# It logs what it cannot read, which is what a caller wrote.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_LONGEST: Final = 100_000
_HEAD: Final = re.compile(r"\s*([A-Za-z_][A-Za-z_0-9]*)\s*\(")
WRITES: Final = (exp.Insert, exp.Update, exp.Delete)


class RefusedSql(Forbidden):
    """The statement holds something that free SQL may not."""

    title = "The statement holds something that is not allowed"


def parse_sql(text: str) -> exp.Expr:
    """Return the one statement in a text.

    Raises:
        InvalidArgument: it cannot be read, or is not one statement.
        RefusedSql: an operator would be read as another one than Postgres has.
    """
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


def check_node(node: exp.Expr, root: exp.Expr) -> None:
    """See that a part of a statement may be there.

    Raises:
        RefusedSql: it is of a kind, or a function or a type, that is not allowed.
    """
    kind = type(node).__name__
    if isinstance(node, exp.Func):
        _check_function(node)
    elif kind not in SYNTAX:
        raise RefusedSql(f"this part of a statement is not allowed here: {_plain(kind)}")
    if isinstance(node, exp.DataType):
        _check_type(node)
    if isinstance(node, WRITES) and node is not root:
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


def parse_expression(text: str, what: str) -> str:
    """Return an expression, written anew; `what` names the argument it came in.

    Raises:
        InvalidArgument: it cannot be read, or is more than one expression.
        RefusedSql: it holds what may not be there.
    """
    tree = parse_sql(f"SELECT {text}")
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1:
        raise InvalidArgument(f"{what}: one expression is expected")
    # Nothing but the one value: what follows a SELECT list would be lost, or mean something else.
    if any(value for name, value in tree.args.items() if name not in ("expressions", "kind")):
        raise InvalidArgument(f"{what}: one expression is expected")
    for node in tree.walk():
        check_node(node, tree)
    found = tree.expressions[0]
    if isinstance(found, exp.Alias | exp.Star):
        raise InvalidArgument(f"{what}: one expression is expected")
    return found.sql(dialect="postgres", comments=False)


def _plain(word: str) -> str:
    return word if len(word) <= 64 and word.replace(".", "").replace("_", "").isalnum() else "(?)"
