"""What is told of arguments is the same whether it was told in the batch before or not."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbase.db.audit import told

KEY = b"k" * 32
ARGUMENTS: list[Any] = [
    {},
    {"id": 1},
    {"id": 2},
    {"id": "1"},
    {"id": None},
    {"di": 1},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"filter": {"id": "eq.1"}},
    {"text": "x" * 5000},
]


def test_a_batch_tells_of_each_what_is_told_of_it_alone() -> None:
    known: dict[bytes, tuple[str, str]] = {}
    for _ in range(2):
        for arguments in ARGUMENTS:
            assert told(KEY, arguments, known) == told(KEY, arguments)
    macs = {told(KEY, arguments, known)[1] for arguments in ARGUMENTS}
    assert len(macs) == len(ARGUMENTS)


def test_what_was_told_before_is_used_and_long_arguments_are_not_kept() -> None:
    known: dict[bytes, tuple[str, str]] = {}
    told(KEY, {"id": 1}, known)
    [text] = known
    known[text] = ("as before", "")
    assert told(KEY, {"id": 1}, known)[0] == "as before"
    told(KEY, {"text": "x" * 5000}, known)
    assert list(known) == [text]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: str(a)[:20])
def test_another_key_gives_another_mac_of_the_same_shape(arguments: Any) -> None:
    one, two = told(KEY, arguments), told(b"l" * 32, arguments)
    assert one[0] == two[0]
    assert one[1] != two[1]
