"""Every promise has a proof, and every proof exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.promises import PROMISES

TESTS = Path(__file__).resolve().parents[1]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("promise", sorted(PROMISES))
def test_a_promise_has_tests_that_exist(promise: str) -> None:
    sentence, proofs = PROMISES[promise]
    assert sentence.endswith(".")
    assert proofs
    for proof in proofs:
        file, _, name = proof.partition("::")
        assert (TESTS / file).is_file(), proof
        assert name in names_in(TESTS / file), proof
