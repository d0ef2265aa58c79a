"""What callers are told of Postgres' errors, and what is never passed on."""

from __future__ import annotations

import asyncpg
import pytest

from fluxbase.db.errors import is_lost, refused_role, translate
from fluxbase.db.relation import Grant, Relation, Visible
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

CASES: list[tuple[str, type[FluxbaseError]]] = [
    ("57014", DeadlineExceeded),
    ("55P03", DeadlineExceeded),
    ("25P03", DeadlineExceeded),
    ("25P04", DeadlineExceeded),
    ("25006", Forbidden),
    ("40001", Unavailable),
    ("40P01", Unavailable),
    ("40003", Unavailable),
    ("08006", Unavailable),
    ("57P01", Unavailable),
    ("57P03", Unavailable),
    ("53300", Unavailable),
    ("53100", Unavailable),
    ("58030", Unavailable),
    ("23001", ConstraintViolation),
    ("23505", ConstraintViolation),
    ("23000", ConstraintViolation),
    ("P0001", ConstraintViolation),
    ("22P02", InvalidData),
    ("42P01", Unavailable),
    ("42703", Unavailable),
    ("42883", InvalidArgument),
    ("0A000", InvalidArgument),
    ("55000", InvalidArgument),
    ("54001", InvalidArgument),
    ("42501", Forbidden),
    ("XX000", InternalError),
    ("42601", InvalidArgument),
    ("42704", InvalidArgument),
]


def raised(state: str, **fields: str) -> asyncpg.PostgresError:
    said = {"C": state, "M": "hidden words", "D": "hidden", "H": "hidden", "S": "ERROR"}
    return asyncpg.PostgresError.new({**said, **fields})


@pytest.mark.parametrize(("state", "kind"), CASES)
def test_every_sqlstate_has_its_error_and_no_word_of_postgres_passes(
    state: str, kind: type[FluxbaseError]
) -> None:
    told = translate(raised(state))
    assert type(told) is kind
    assert "hidden" not in str(told.as_dict())


def test_who_stops_a_statement_is_told_apart_from_its_time_limit() -> None:
    stopped = translate(raised("57014", M="canceling statement due to user request"))
    late = translate(raised("57014", M="canceling statement due to statement timeout"))
    # Not one that a client would try again by itself.
    assert type(stopped) is type(late) is DeadlineExceeded
    assert stopped.message != late.message


def test_a_broken_function_of_the_database_is_not_the_callers_fault() -> None:
    assert isinstance(translate(raised("42P01", W="PL/pgSQL function f()")), InternalError)


def test_a_flaw_in_the_text_of_a_statement_is_no_callers_fault() -> None:
    for state in ("42601", "42704"):
        assert isinstance(translate(raised(state, P="7")), InternalError)


def visible(*columns: str) -> Visible:
    relation = Relation(1, "public", "notes", "table", None, True, False, {}, (), (), (), (), ())
    return Visible(relation, Grant(select=frozenset(columns)))


def test_a_broken_rule_is_named_by_its_constraint() -> None:
    error = raised("23505", n="notes_key", s="public", t="notes")
    assert "(notes_key)" in translate(error, visible()).message


def test_a_rule_of_another_table_is_not_named() -> None:
    for error in (
        raised("23503", n="hidden_key", s="hidden", t="vault"),
        raised("23505", n="hidden_key"),
    ):
        assert "hidden" not in translate(error, visible()).message
    untold = translate(raised("23505", n="notes_key", s="public", t="notes"))
    assert "notes_key" not in untold.message


def test_a_column_is_named_only_to_who_may_know_it() -> None:
    error = raised("23502", c="secret", s="public", t="notes")
    assert "(secret)" in translate(error, visible("secret")).message
    assert "secret" not in translate(error, visible("title")).message


@pytest.mark.parametrize(
    ("error", "kind", "lost"),
    [
        (ConnectionResetError(), Unavailable, True),
        (asyncpg.ConnectionDoesNotExistError("x"), Unavailable, True),
        (asyncpg.InternalClientError("x"), Unavailable, True),
        (asyncpg.InterfaceError("x"), Unavailable, True),
        (asyncpg.ClientConfigurationError("x"), InvalidData, False),
        (TimeoutError(), DeadlineExceeded, False),
        (KeyError(), InternalError, False),
    ],
)
def test_errors_of_the_line_are_told_from_errors_of_the_call(
    error: Exception, kind: type[FluxbaseError], lost: bool
) -> None:
    assert type(translate(error)) is kind
    assert is_lost(error) is lost


def test_our_own_errors_stay_what_they_are() -> None:
    own = Forbidden("x")
    assert translate(own) is own


@pytest.mark.parametrize("state", ["42501", "22023"])
def test_a_role_that_is_gone_is_forbidden(state: str) -> None:
    assert type(refused_role(raised(state))) is Forbidden
    assert type(refused_role(raised("57P01"))) is Unavailable
