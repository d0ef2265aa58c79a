"""Turns Postgres' errors into ours; no text, detail or hint of Postgres passes through.

The one exception is the name of a constraint or column of a table that the caller named, which
is public to who may write to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import asyncpg

from fluxbase.errors import (
    ConstraintViolation,
    DeadlineExceeded,
    FluxbaseError,
    Forbidden,
    InternalError,
    InvalidArgument,
    InvalidData,
    Unavailable,
)

if TYPE_CHECKING:
    from fluxbase.db.relation import Visible

CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver lost track of the line, which is then of no use
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    ConnectionError,
    OSError,
    asyncio.IncompleteReadError,
)

_CONSTRAINTS: Final = {
    "23001": "a referenced row is still referenced",
    "23502": "a column that needs a value has none",
    "23503": "a referenced row does not exist, or is still referenced",
    "23505": "a row with the same key exists already",
    "23514": "a check of the table refuses the row",
    "23P01": "the row conflicts with another one",
}
_OF_VALUES: Final = ("42601", "42704")
_CLASSES_OF_VALUES: Final = ("0A", "22", "23", "3F", "42")
_EXACT: Final[dict[str, tuple[type[FluxbaseError], str]]] = {
    "57014": (DeadlineExceeded, "the statement ran into its time limit and was stopped"),
    "55P03": (DeadlineExceeded, "a lock could not be had in time"),
    "25006": (Forbidden, "this caller may only read"),
    "44000": (Forbidden, "the row would not be visible through the view it is written to"),
    "428C9": (InvalidArgument, "a generated column cannot be written"),
    "42P10": (InvalidArgument, "no unique constraint fits the columns of on_conflict"),
    "25P03": (DeadlineExceeded, "the transaction was left idle too long; nothing was changed"),
    "25P04": (DeadlineExceeded, "the transaction ran into its time limit; nothing was changed"),
    "42P01": (Unavailable, "the table was changed at this moment; nothing was done, try again"),
    "42703": (Unavailable, "the table was changed at this moment; nothing was done, try again"),
    "42804": (Unavailable, "the table was changed at this moment; nothing was done, try again"),
    "3F000": (Unavailable, "the table was changed at this moment; nothing was done, try again"),
    "XX000": (InvalidArgument, "a value or a pattern is too large for the database"),
    "42601": (InvalidArgument, "a text search is not well formed; wfts and plfts take any words"),
    "42704": (InvalidArgument, "there is no text search configuration of this name"),
    "2201B": (InvalidArgument, "a regular expression is not well formed"),
    "42846": (InvalidArgument, "a value cannot be cast to the type that is asked for"),
    "42883": (InvalidArgument, "the operator does not work on the type of the column"),
    "42809": (InvalidArgument, "this kind of table cannot be used this way"),
    "55000": (InvalidArgument, "this kind of table cannot be used this way"),
    "21000": (InvalidArgument, "two rows of the same call have the same on_conflict key"),
    "FX001": (InvalidArgument, "the role does not exist"),
    "FX002": (InvalidArgument, "the role would bypass row-level security or may log in"),
}
_CLASSES: Final[dict[str, tuple[type[FluxbaseError], str]]] = {
    "08": (Unavailable, "the database cannot be reached"),
    "53": (Unavailable, "the database is short of resources"),
    "57": (Unavailable, "the database is not accepting work right now"),
    "58": (Unavailable, "the database met a system error"),
    "0A": (InvalidArgument, "this kind of table cannot be used this way"),
    "23": (ConstraintViolation, "a rule of the table refuses the data"),
    "40": (Unavailable, "the transaction met another one; nothing was changed, try again"),
    "P0": (ConstraintViolation, "a function of the database refuses the data"),
    "22": (InvalidData, "a value does not fit the type of its column"),
    "54": (InvalidArgument, "the request is too complex for the database"),
}


_UNKNOWN: Final = (InternalError, "the database refused the statement")


def translate(error: BaseException, table: Visible | None = None) -> FluxbaseError:
    """Return the error a caller may see for one raised by the driver.

    Args:
        error: what was raised.
        table: the one that the caller wrote to; only its constraints and columns are named.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    if isinstance(error, FluxbaseError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the database did not answer in time")
    if isinstance(error, asyncpg.PostgresError):
        return _from_state(error, table)
    if _is_ours(error):
        return InvalidData("a value does not fit the type of its column")
    if isinstance(error, CONNECTION_ERRORS):
        return Unavailable("the database cannot be reached")
    return InternalError()


def may_be_a_value(error: FluxbaseError) -> bool:
    """Return whether Postgres raised an error that a value can be the cause of.

    Types of extensions raise what they like: a syntax error, a missing table, a broken rule.
    """
    cause = error.__cause__
    if not isinstance(cause, asyncpg.PostgresError):
        return False
    return str(cause.sqlstate)[:2] in _CLASSES_OF_VALUES


def refused_role(error: BaseException) -> FluxbaseError:
    """Return the error for a role that could not be taken on: retired or dropped meanwhile."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError | asyncpg.InvalidParameterValueError):
        return Forbidden("the caller's role can no longer be taken on")
    return translate(error)


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is gone, so that an idempotent call may be sent again."""
    # A time limit is an OSError too, but what ran into it once would do so again.
    if isinstance(error, TimeoutError) or _is_ours(error):
        return False
    return isinstance(error, CONNECTION_ERRORS)


def _is_ours(error: BaseException) -> bool:
    # The driver could not encode a value: nothing was sent. Its class is not exported.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def _from_state(error: asyncpg.PostgresError, table: Visible | None) -> FluxbaseError:
    state = str(error.sqlstate)
    if state == "42501":
        return _forbidden(error)
    fault = _fault(error, state)
    if fault is not None:
        return InternalError(fault)
    if state in _CONSTRAINTS:
        return ConstraintViolation(_CONSTRAINTS[state] + _named(error, table))
    kind, message = _EXACT.get(state) or _CLASSES.get(state[:2]) or _UNKNOWN
    if kind is DeadlineExceeded and "user request" in str(error):
        message = "the statement was stopped by who administers the database"
    return kind(message)


def _fault(error: asyncpg.PostgresError, state: str) -> str | None:
    """Return what is broken when it is neither the caller's value nor its choice."""
    if error.context and state[:2] in ("3F", "42"):
        return "a function or policy of the database is broken"
    if state == "XX000" and "memory alloc request size" not in str(error):
        return "the database refused the statement"
    if state == "21000" and "ON CONFLICT" not in str(error):
        return "a function or policy of the database is broken"
    # Where Postgres points into the text of a statement, the fault is in it, not in a value.
    return "the database refused the statement" if state in _OF_VALUES and error.position else None


def _forbidden(error: asyncpg.PostgresError) -> Forbidden:
    # A row that breaks a policy and a missing privilege share one SQLSTATE; only the wording tells
    # them apart, and only for the hint.
    if "row-level security" in str(error):
        return Forbidden("a row-level security policy refuses the row")
    return Forbidden("the database does not allow this to the caller's role")


def _named(error: asyncpg.PostgresError, table: Visible | None) -> str:
    # Tables behind a trigger or a reference may be hidden from the caller, and so may columns.
    if table is None or f"{error.schema_name}.{error.table_name}" != table.relation.full_name:
        return ""
    if error.constraint_name:
        return f" ({error.constraint_name})"
    return f" ({error.column_name})" if error.column_name in table.grant.columns else ""
