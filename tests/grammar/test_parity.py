"""Fluxbase beside a PostgREST that runs on the same database, asked the same at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.grammar.cases import TENANTS, Answer, Case, cases, comparable, differing, wanted
from tests.grammar.compose import compose
from tests.grammar.stand import Oracle, postgrest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.grammar.conftest import Fluxbase

SEEDS = 400


@pytest.fixture(scope="module")
async def oracle(fluxbase: Fluxbase, home: Path) -> AsyncGenerator[Oracle]:
    async with postgrest(fluxbase.url, home / "postgrest.log") as running:
        yield running


@pytest.mark.slow
async def test_postgrest_answers_today_as_it_was_recorded(oracle: Oracle) -> None:
    stale = [
        f"{case.name} ({tenant})"
        for case in cases().values()
        if case.only is None and differing(case.name) is None
        for tenant in TENANTS
        if not _same(case, await oracle.ask(case, tenant), wanted(case, tenant))
    ]
    assert stale == [], "run python -m tests.grammar.record"


@pytest.mark.slow
async def test_nothing_differs_that_is_not_declared(fluxbase: Fluxbase, oracle: Oracle) -> None:
    undeclared: list[str] = []
    for case in _all():
        if case.only is None and differing(case.name) is None:
            undeclared += [
                f"{case.name} ({tenant}): {case.ask}\n  {theirs}\n  {ours}"
                for tenant in TENANTS
                for ours, theirs in [await _both(fluxbase, oracle, case, tenant)]
                if not _same(case, ours, theirs)
            ]
    assert undeclared == [], "\n".join(undeclared)


@pytest.mark.slow
async def test_everything_that_is_declared_still_differs(
    fluxbase: Fluxbase, oracle: Oracle
) -> None:
    agreed: list[str] = []
    for case in _all():
        if case.only is not None or differing(case.name) is not None:
            answers = [await _both(fluxbase, oracle, case, tenant) for tenant in TENANTS]
            if all(_same(case, ours, theirs) for ours, theirs in answers):
                agreed.append(f"{case.name}: {case.ask}")
    assert agreed == []


@pytest.mark.slow
async def test_requests_that_nobody_thought_of_are_answered_alike(
    fluxbase: Fluxbase, oracle: Oracle
) -> None:
    apart: list[str] = []
    for seed in range(SEEDS):
        ask = compose(seed)
        # With groups, or an offset beyond the end, a count is declared to differ; PostgREST's own
        # count does not heed the offset of an inner embed, which its rows do.
        counted = "select=id," in ask and "offset=" not in ask
        case = Case(f"seed {seed}", ask, count=counted)
        tenant = TENANTS[seed % 2]
        ours, theirs = await _both(fluxbase, oracle, case, tenant)
        assert theirs.refusal is None, f"{case.ask}: {theirs.refusal}"
        if not _same(case, ours, theirs):
            apart.append(f"{case.name} ({tenant}): {case.ask}\n  {theirs}\n  {ours}")
    assert apart == [], "\n".join(apart[:5])


def _all() -> list[Case]:
    return [*cases().values(), *cases("refusals").values()]


async def _both(
    fluxbase: Fluxbase, oracle: Oracle, case: Case, tenant: str
) -> tuple[Answer, Answer]:
    return await fluxbase.ask(case, tenant), await oracle.ask(case, tenant)


def _same(case: Case, one: Answer, other: Answer) -> bool:
    """Return whether both refuse, or both give the same rows and the same count."""
    if one.refusal is not None or other.refusal is not None:
        return one.refusal is not None and other.refusal is not None
    same = comparable(case, one.rows) == comparable(case, other.rows)
    return same and (not case.count or one.total == other.total)
