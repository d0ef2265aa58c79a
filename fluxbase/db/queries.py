"""Loads the named SQL blocks of `sql/queries`; it must not change a byte of their SQL.

A block is a header `-- name(parameter, …)` with the parameters in the order of `$1, $2 …`, and
`reads` behind it where asking twice does no harm; then a sentence of what it asks, and the
statement. Calls name their parameters, so a header that does not fit its SQL fails in one place,
and a test prepares every block on a real Postgres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from fluxbase.db.files import sql_dir
from fluxbase.db.sql import Sql, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER: Final = re.compile(r"^-- ([a-z][a-z0-9_]*)\(([a-z0-9_, ]*)\)( reads)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One named statement and its parameters in order."""

    name: str
    parameters: tuple[str, ...]
    sql: str
    reads: bool = False  # asking twice does no harm

    def bind(self, arguments: Mapping[str, object]) -> list[object]:
        """Return the values in the order of the parameters.

        Raises:
            TypeError: a parameter is missing or unknown.
        """
        if set(arguments) != set(self.parameters):
            wrong = sorted(set(arguments) ^ set(self.parameters))
            raise TypeError(f"{self.name}: missing or unknown parameters: {', '.join(wrong)}")
        return [arguments[name] for name in self.parameters]


@cache
def queries() -> Mapping[str, Query]:
    """Return every named block by name, read once."""
    found: dict[str, Query] = {}
    for file in sorted((sql_dir() / "queries").glob("*.sql")):
        for query in parse(file.read_text("utf-8")):
            if query.name in found:
                raise ValueError(f"{file.name}: query {query.name} is defined twice")
            found[query.name] = query
    return found


def statement(name: str, /, **arguments: object) -> Statement:
    """Return a named block with its values, to be run as a caller.

    Raises:
        TypeError: a parameter is missing or unknown.
    """
    query = queries()[name]
    return Statement(Sql(query.sql), tuple(query.bind(arguments)))


def parse(text: str) -> list[Query]:
    """Return the blocks of one file.

    Raises:
        ValueError: a block has no statement, or text stands before the first header.
    """
    headers = list(_HEADER.finditer(text))
    if text[: headers[0].start() if headers else None].strip():
        raise ValueError("SQL before the first '-- name(parameters)' header")
    ends = [h.start() for h in headers[1:]] + [len(text)]
    blocks: list[Query] = []
    for header, end in zip(headers, ends, strict=True):
        sql = text[header.end() : end].strip()
        if not re.sub(r"--[^\n]*", "", sql).strip():
            raise ValueError(f"query {header[1]} has no statement")
        names = tuple(n.strip() for n in header[2].split(",") if n.strip())
        blocks.append(Query(header[1], names, sql, reads=header[3] is not None))
    return blocks
