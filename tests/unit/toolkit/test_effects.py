"""Writes of work that is run twice have the same names both times, and no two of them share one."""

from __future__ import annotations

from typing import Any

from fluxbase.toolkit.effects import Effects


def test_another_attempt_names_the_same_writes_alike_in_any_order() -> None:
    first, second = Effects("job/1"), Effects("job/1")
    writes: list[dict[str, Any]] = [
        {"table": "a", "data": {"x": 1, "y": 2}},
        {"table": "b", "data": {}},
    ]
    names = [first.name("insert_record", write) for write in writes]
    again: dict[str, Any] = {"data": {"y": 2, "x": 1}, "table": "a"}
    assert second.name("insert_record", writes[1]) == names[1]
    assert second.name("insert_record", again) == names[0]


def test_a_write_that_is_meant_twice_is_done_twice() -> None:
    effects = Effects("job/1")
    write: dict[str, Any] = {"table": "a", "data": {}}
    names = {effects.name("insert_record", write) for _ in range(3)}
    assert len(names) == 3
    assert effects.name("upsert", write) not in names


def test_two_pieces_of_work_do_not_share_their_writes() -> None:
    write: dict[str, Any] = {"table": "a", "data": {}}
    assert Effects("job/1").name("insert_record", write) != Effects("job/2").name(
        "insert_record", write
    )
