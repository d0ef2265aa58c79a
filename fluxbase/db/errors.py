"""Turns Postgres' errors into ours; no text, detail or hint of Postgres passes through.

The one exception is the name of a constraint or column of a table that the caller named, which
is public to who may write to it.
"""

from __future__ import annotations

import asyncio
from typing import Final

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

CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    ConnectionError,
    OSError,
    asyncio.IncompleteReadError,
)

_CONSTRAINTS: Final = {
    "23502": "a column that needs a value has none",
    "23503": "a referenced row does not exist, or is still referenced",
    "23505": "a row with the same key exists already",
    "23514": "a check of the table refuses the row",
    "23P01": "the row conflicts with another one",
}
_EXACT: Final[dict[str, tuple[type[FluxbaseError], str]]] = {
    "57014": (DeadlineExceeded, "the statement ran into its time limit and was stopped"),
    "55P03": (DeadlineExceeded, "a lock could not be had in time"),
    "25006": (Forbidden, "this caller may only read"),
    "40001": (Unavailable, "the transaction met another one; nothing was changed, try again"),
    "40P01": (Unavailable, "the transaction met another one; nothing was changed, try again"),
    "44000": (Forbidden, "the row would not be visible through the view it is written to"),
    "428C9": (InvalidArgument, "a generated column cannot be written"),
    "42P10": (InvalidArgument, "no unique constraint fits the columns of on_conflict"),
    "FX001": (InvalidArgument, "the role does not exist"),
    "FX002": (InvalidArgument, "the role would bypass row-level security or may log in"),
    "21000": (InvalidArgument, "two rows of the same call have the same on_conflict key"),
}
_CLASSES: Final[dict[str, tuple[type[FluxbaseError], str]]] = {
    "08": (Unavailable, "the database cannot be reached"),
    "53": (Unavailable, "the database is short of resources"),
    "57": (Unavailable, "the database is not accepting work right now"),
    "58": (Unavailable, "the database met a system error"),
    "22": (InvalidData, "a value does not fit the type of its column"),
    "54": (InvalidArgument, "the request is too complex for the database"),
}


def translate(error: BaseException) -> FluxbaseError:
    """Return the error a caller may see for one raised by the driver.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    if isinstance(error, FluxbaseError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the database did not answer in time")
    if isinstance(error, asyncpg.PostgresError):
        return _from_state(error)
    if isinstance(error, CONNECTION_ERRORS):
        return Unavailable("the database cannot be reached")
    return InternalError()


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is gone, so that an idempotent call may be sent again."""
    return isinstance(error, CONNECTION_ERRORS)


def _from_state(error: asyncpg.PostgresError) -> FluxbaseError:
    state = str(error.sqlstate)
    if state == "42501":
        return _forbidden(error)
    if state in _CONSTRAINTS:
        return ConstraintViolation(_CONSTRAINTS[state] + _named(error))
    if state in _EXACT:
        kind, message = _EXACT[state]
        return kind(message)
    if state[:2] in _CLASSES:
        kind, message = _CLASSES[state[:2]]
        return kind(message)
    return InternalError("the database refused the statement")


def _forbidden(error: asyncpg.PostgresError) -> Forbidden:
    # A row that breaks a policy and a missing privilege share one SQLSTATE; only the wording tells
    # them apart, and only for the hint.
    if "row-level security" in str(error):
        return Forbidden("a row-level security policy refuses the row")
    return Forbidden("the database does not allow this to the caller's role")


def _named(error: asyncpg.PostgresError) -> str:
    name = error.constraint_name or error.column_name
    return f" ({name})" if name else ""
