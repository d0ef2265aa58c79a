"""Requests with a piece too many, too few or in the wrong place: answered or refused, no more."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from tests.grammar.cases import Case, cases
from tests.grammar.compose import compose

if TYPE_CHECKING:
    from tests.grammar.conftest import Fluxbase

SEEDS = 1500
# As little of a language as a request can be damaged with; a NUL would cut SQL off on its way.
PIECES = [*"(),.:!\"\\*{}[];'0é☃", "::", "->", "->>", "...", "not.", "or", "eq.", "()", "$1"]
ENCODED = ["%00", "%25", "%20"]
_SPEAKS_OF_INPUT = re.compile(r"FLX(?:10[0-9]|20[0-9]|302|602)\b")


def damaged(seed: int) -> str:
    """Return a request with one to three pieces put in, taken out or moved."""
    dice = Random(seed)  # noqa: S311 - nothing is kept secret with it
    known = [case.ask for case in cases().values()]
    table, mark, query = (compose(seed) if seed % 2 else dice.choice(known)).partition("?")
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(query) + 1)
        if dice.randrange(3):
            query = query[:place] + dice.choice([*PIECES, *ENCODED]) + query[place:]
        else:
            query = query[:place] + query[place + dice.randrange(1, 4) :]
    return f"{table}{mark}{query}"


async def test_a_damaged_request_is_answered_or_refused_and_never_our_fault(
    fluxbase: Fluxbase,
) -> None:
    faults: list[str] = []
    for seed in range(SEEDS):
        case = Case(f"seed {seed}", damaged(seed))
        answer = await fluxbase.ask(case, "user1")
        if answer.refusal is not None and not _SPEAKS_OF_INPUT.match(answer.refusal):
            faults.append(f"{seed}: {case.ask}\n  {answer.refusal}")
    assert faults == [], "\n".join(faults[:10])


async def test_a_damaged_request_shows_nothing_of_the_other_tenant(fluxbase: Fluxbase) -> None:
    for seed in range(0, SEEDS, 3):
        answer = await fluxbase.ask(Case(f"seed {seed}", damaged(seed)), "user2")
        assert "00000000-0000-4000-8000-000000000001" not in str(answer.rows), seed
