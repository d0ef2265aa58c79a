"""The parser that judges our SQL finds what should not be there, or its silence means nothing."""

from __future__ import annotations

from typing import Final

import pytest

from tests.unit.tables import judge
from tests.unit.tables.judge import Allowed

_MAY: Final = Allowed(
    frozenset({("public", "notes")}),
    frozenset({"id", "title", 'odd "name"'}),
    frozenset({"public.shout"}),
    frozenset({"text", "bigint"}),
)
_RIGHT: Final = (
    'SELECT "t1"."id" AS "odd ""name""", public.shout("t1".*) FROM "public"."notes" AS "t1" '
    'WHERE "t1"."title" = $1::text LIMIT $2::int8'
)
_PLANTED: Final = (
    ("literal: 'zq'", "$1::text", "'zq'::text"),
    ("literal: '7'", "LIMIT $2::int8", "LIMIT 7"),
    ("literal: '11'", "$1::text", "11::text"),
    ("literal: '11'", "LIMIT $2::int8", "LIMIT $2 + 11"),
    ("literal: 'zq\\\\'", "$1::text", r"E'zq\\'"),
    ("2 statements", "int8", "int8; SELECT $1"),
    ("2 statements", "SELECT", "DROP TABLE x; SELECT"),
    ("a comment: [' zq ']", "LIMIT", "/* zq */ LIMIT"),
    ("table: public.other", 'FROM "public"."notes"', 'FROM "public"."notes", "public"."other"'),
    ("table: .notes", '"public"."notes"', '"notes"'),
    ("table: hidden.notes", '"public"."notes"', '"hidden"."notes"'),
    ("name: 'secret'", '"t1"."title"', '"t1"."secret"'),
    ("not quoted: title", '"t1"."title"', "title"),
    ("function: pg_sleep", "$1::text", "pg_sleep($1)::text"),
    ("function: other.shout", "public.shout", "other.shout"),
    ("type: regclass", "$1::text", "$1::regclass"),
    ("parameter: $3", "$2", "$3"),
    ("parameter: $0", "$2", "$0"),
    ("node: Union", "LIMIT", 'UNION SELECT "id", "id" FROM "public"."notes" LIMIT'),
    ("node: Delete", "SELECT", 'WITH "id" AS (DELETE FROM "public"."notes" RETURNING "id") SELECT'),
    ("not read", "WHERE", "WHERE WHERE"),
)


def test_what_may_be_there_is_no_fault() -> None:
    assert judge.faults(_RIGHT, _MAY, 2) == []


@pytest.mark.parametrize("limit", ["LIMIT 11::int8", "LIMIT 10001"])
def test_a_limit_of_the_program_is_no_fault(limit: str) -> None:
    assert judge.faults(_RIGHT.replace("LIMIT $2::int8", limit), _MAY, 1) == []


@pytest.mark.parametrize(("fault", "before", "after"), _PLANTED)
def test_what_is_planted_is_found(fault: str, before: str, after: str) -> None:
    assert before in _RIGHT
    found = judge.faults(_RIGHT.replace(before, after, 1), _MAY, 2)
    assert any(told.startswith(fault) for told in found), found


@pytest.mark.parametrize(
    "operator",
    ["= ", "<>", "@>", "<@", "&&", "<<", ">>", "&<", "&>", "-|-", "~", "~*", "@@", "->", "->>"],
)
def test_every_operator_of_postgres_that_we_write_is_read(operator: str) -> None:
    text = _RIGHT.replace("= $1::text", f"{operator} $1::text")
    assert judge.faults(text, _MAY, 2) == []


def test_steps_into_json_are_not_taken_for_a_text_in_dollars() -> None:
    text = _RIGHT.replace('"t1"."title"', '(("t1"."title"->$1::text)->$2::text)')
    assert judge.faults(text, _MAY, 2) == []


def test_a_text_in_dollars_is_found() -> None:
    text = _RIGHT.replace("$1::text", "$a$zq$a$::text")
    assert judge.faults(text, _MAY, 2) != []
