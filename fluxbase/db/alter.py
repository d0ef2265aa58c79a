"""Changes the schema as the owner: all of a change or none; it must not know what is changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.db.errors import translate
from fluxbase.db.owner import tried
from fluxbase.db.queries import queries
from fluxbase.errors import Conflict, FluxbaseError, InvalidArgument, UnknownTable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from fluxbase.db.queries import Query
    from fluxbase.db.sql import Sql
    from fluxbase.db.types import Connection, Record

_MISTAKES: Final[dict[str, tuple[type[FluxbaseError], str]]] = {
    "42P06": (Conflict, "there is a schema of this name already"),
    "42P07": (Conflict, "there is a table or index of this name already"),
    "42701": (Conflict, "there is a column of this name already"),
    "42710": (Conflict, "there is something of this name already"),
    "42P01": (UnknownTable, "no such table"),
    "42703": (InvalidArgument, "no such column"),
    "42704": (
        InvalidArgument,
        "no such type, index, policy or role, or an index of this method needs another type",
    ),
    "3F000": (InvalidArgument, "no such schema"),
    "2BP01": (
        Conflict,
        "other objects depend on it; where cascade is an argument, true drops them as well",
    ),
    "42830": (InvalidArgument, "references: the other column has no unique constraint"),
    "42804": (
        InvalidArgument,
        "an expression, index or default does not fit the type of its column; another type may "
        "need using, and another default",
    ),
    "22023": (
        InvalidArgument,
        "a length or precision is out of range, or an enum has no such value",
    ),
    "0A000": (
        InvalidArgument,
        "Postgres does not do this, such as a subquery in an expression of a column, or another "
        "type of a column that a view, a policy, a trigger (of a collection) or a generated column "
        "needs",
    ),
    "42601": (
        InvalidArgument,
        "an expression cannot be read, or the column is generated or an identity, which cannot be "
        "changed like this",
    ),
    "42611": (InvalidArgument, "using: a generated column is computed anew without it"),
    "42803": (InvalidArgument, "an expression of one row cannot have aggregates"),
    "42P20": (InvalidArgument, "an expression of one row cannot have window functions"),
    "42809": (InvalidArgument, "this is another kind of object, such as a view"),
    "42P17": (InvalidArgument, "an expression is not allowed in this place"),
    "42P16": (
        InvalidArgument,
        "the definition cannot be, such as a primary key that may be null",
    ),
    "42883": (InvalidArgument, "a function or operator does not exist for these types"),
    "42P02": (InvalidArgument, "an expression has no parameters here"),
    "23502": (
        Conflict,
        "there are rows in which the column is or would be empty: give a default, or fill them",
    ),
    "23505": (Conflict, "there are rows that the rule does not hold for"),
    "23514": (Conflict, "there are rows that the rule does not hold for"),
    "23503": (Conflict, "there are rows that the rule does not hold for"),
}


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of a change."""

    principal: str
    action: str
    target: str
    down: str | None


async def alter(
    conn: Connection, statements: Sequence[Sql], note: Note, *, dry_run: bool, lock_timeout: float
) -> list[str]:
    """Run the statements in one transaction, and return the locks that they took.

    Raises:
        FluxbaseError: Postgres refuses one of them; nothing was changed.
    """
    async with _changing(conn, dry_run=dry_run, lock_timeout=lock_timeout):
        for statement in statements:
            await conn.execute(statement)
        locks = await conn.fetch(queries()["own_locks"].sql)
        if not dry_run:
            up = ";\n".join(statements) + ";"
            add = queries()["add_schema_change"].sql
            await conn.execute(add, note.principal, note.action, note.target, up, note.down)
    return [f"{lock['mode']} on {lock['relation']}" for lock in locks]


async def reshape(
    conn: Connection, query: Query, values: Sequence[object], *, dry_run: bool, lock_timeout: float
) -> list[Record]:
    """Run a named query that changes the schema, whole or not at all, and return its rows.

    Raises:
        FluxbaseError: Postgres refuses it; nothing was changed.
    """
    async with _changing(conn, dry_run=dry_run, lock_timeout=lock_timeout):
        return await conn.fetch(query.sql, *values)


@asynccontextmanager
async def _changing(
    conn: Connection, *, dry_run: bool, lock_timeout: float
) -> AsyncGenerator[None]:
    """Run the block in one transaction that waits for no lock for long; raises errors in words."""
    try:
        async with tried(conn, dry_run=dry_run):
            milliseconds = str(round(lock_timeout * 1000))
            await conn.execute("SELECT set_config('lock_timeout', $1, true)", milliseconds)
            yield
    except Exception as error:
        raise _told(error) from error


def _told(error: Exception) -> FluxbaseError:
    if isinstance(error, asyncpg.PostgresError):
        found = _MISTAKES.get(str(error.sqlstate))
        if found is not None:
            kind, words = found
            return kind(words)
    return translate(error)
