"""What PostgREST answered, Fluxbase answers, to each tenant its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.grammar.cases import (
    RECORDED,
    TENANTS,
    Case,
    cases,
    comparable,
    differences,
    differing,
    exact,
    wanted,
)
from tests.programs import ROOT
from tests.world import USER1, USER2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.grammar.conftest import Fluxbase

# What Postgres or a program says of itself, and no caller should have to read.
_TECHNICAL = re.compile(
    r"SQLSTATE|ERROR:|syntax error|pg_catalog|does not exist|relation \"|operator does not exist"
    r"|\bPGRST\d+|\b(?:22|42|0A|2B)[0-9A-Z]{3}\b|Traceback|asyncpg|Internal"
)
_SPEAKS_OF_INPUT = re.compile(r"FLX(?:10[0-9]|20[0-9]|302|602)\b")


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("name", cases())
async def test_a_request_is_answered_as_postgrest_answers_it(
    fluxbase: Fluxbase, name: str, tenant: str
) -> None:
    case = cases()[name]
    answer, right = await fluxbase.ask(case, tenant), wanted(case, tenant)
    if right.refusal is not None:
        assert answer.refusal is not None, f"{case.ask}: {right.refusal}"
        _check_refusal(case, answer.refusal)
        return
    assert answer.refusal is None, f"{case.ask}: {answer.refusal}"
    assert comparable(case, answer.rows) == comparable(case, right.rows), case.ask
    assert not case.count or answer.total == right.total, case.ask


@pytest.mark.parametrize("name", cases("refusals"))
async def test_a_request_that_means_nothing_is_refused_with_a_word_of_why(
    fluxbase: Fluxbase, name: str
) -> None:
    case = cases("refusals")[name]
    answer = await fluxbase.ask(case, "user1")
    assert answer.refusal is not None, f"{case.ask}: {answer.rows}"
    _check_refusal(case, answer.refusal)


def test_nothing_that_is_wanted_is_the_other_tenants() -> None:
    for case in cases().values():
        for tenant, other in (("user1", USER2), ("user2", USER1)):
            rows = wanted(case, tenant).rows
            assert other not in str(rows), case.name
            ids = [value for key, value in _values(rows) if key == "id" and isinstance(value, int)]
            assert all((id_ > 100) == (tenant == "user2") for id_ in ids), case.name


def test_what_is_recorded_is_what_is_asked() -> None:
    asked = {c.name for c in cases().values() if c.only is None and differing(c.name) is None}
    assert {
        name for path in RECORDED.glob("*.json") for name in exact(path.read_text("utf-8"))
    } == asked


def test_every_declared_difference_is_about_requests_that_are_there() -> None:
    known = {**cases(), **cases("refusals")}
    for difference in differences():
        assert difference.cases
        assert set(difference.cases) <= set(known), difference.name


def test_the_guide_argues_every_difference() -> None:
    guide = " ".join((ROOT / "docs" / "guides" / "postgrest.md").read_text("utf-8").split())
    for difference in differences():
        for words in (difference.postgrest, difference.fluxbase, difference.reason):
            assert words.strip() in guide, difference.name


def test_there_are_as_many_cases_as_the_grammar_needs() -> None:
    assert len(cases()) >= 600
    assert len(cases("refusals")) >= 130


def test_rows_compare_without_order_where_none_was_asked_and_with_it_where_it_was() -> None:
    one, two = exact('[{"p":[{"id":1},{"id":2}]}]'), exact('[{"p":[{"id":2},{"id":1}]}]')
    loose, strict = Case("x", "/a?select=p(id)"), Case("x", "/a?select=p(id)&p.order=id")
    assert comparable(loose, one) == comparable(loose, two)
    assert comparable(strict, one) != comparable(strict, two)


def test_a_list_within_a_column_keeps_its_order() -> None:
    case = Case("x", "/a?select=p,q(id)")
    assert comparable(case, [{"p": [2, 1]}]) != comparable(case, [{"p": [1, 2]}])


def test_digits_are_compared_as_they_are_written() -> None:
    assert exact("[1.50]") != exact("[1.5]")


def _check_refusal(case: Case, refusal: str) -> None:
    said = f"{case.ask}: {refusal}"
    assert _SPEAKS_OF_INPUT.match(refusal), said
    assert not _TECHNICAL.search(refusal), said
    assert case.says is None or re.search(case.says, refusal), said


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield key, inner
            yield from _values(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _values(inner)
