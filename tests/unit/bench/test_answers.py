"""An answer with other rows than those asked for does not count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.load import wrong_answers
from tests.bench.peers.asking import Message
from tests.bench.work import EMBEDDED, INSERT, STATUS, TEN, WrongAnswer

USER = "00000000-0000-4000-8000-000000000007"
OTHER = "00000000-0000-4000-8000-000000000008"


def tasks(count: int = 10, **changed: Any) -> list[dict[str, Any]]:
    return [{"id": n, "user_id": USER, "status": STATUS, **changed} for n in range(count)]


def embedded(**changed: Any) -> list[dict[str, Any]]:
    comments = [
        [{"id": n, "body": f"Comment {n} on task {m}"} for n in (1, 2, 3)] for m in range(10)
    ]
    return [
        {"id": m, "project": {"name": "Project number 37"}, "comments": comments[m], **changed}
        for m in range(10)
    ]


def test_the_right_rows_are_taken() -> None:
    TEN.check(tasks(), USER)
    INSERT.check([{"id": 1}], USER)
    EMBEDDED.check(embedded(), USER)


@pytest.mark.parametrize(
    "rows",
    [
        tasks(9),
        tasks(11),
        tasks(id=1),
        [*tasks(), *tasks(1)],
        tasks(user_id=OTHER),
        tasks(status="closed"),
        [*tasks(9), {"id": 10, "user_id": OTHER, "status": STATUS}],
    ],
)
def test_rows_too_few_too_many_doubled_or_of_others_are_refused(
    rows: list[dict[str, Any]],
) -> None:
    with pytest.raises(WrongAnswer):
        TEN.check(rows, USER)


@pytest.mark.parametrize(
    "rows",
    [
        embedded(comments=[]),
        embedded(project={"name": "Project number 40"}),
        embedded(comments=[{"id": 1, "body": "Comment 1 on task 99"}]),
    ],
)
def test_embedded_rows_without_their_own_parts_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(WrongAnswer):
        EMBEDDED.check(rows, USER)


def test_an_insert_that_returns_nothing_is_refused() -> None:
    with pytest.raises(WrongAnswer):
        INSERT.check([], USER)


def test_a_message_with_a_body_says_its_length_and_one_without_does_not() -> None:
    post = Message("POST", "/mcp", {"X-Client-Key": "k"}, b"{}").raw()
    assert post == (
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Client-Key: k\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert b"Content-Length" not in Message("GET", "/tasks", {}, b"").raw()


def test_answers_of_the_right_length_and_status_are_no_errors() -> None:
    assert wrong_answers({"requests": 100, "bytes": 100_500, "errors": 0}, 1000, None) == 0
    assert wrong_answers({"requests": 100, "bytes": 100_500, "errors": 3}, 1000, None) == 3


@pytest.mark.parametrize("size", [300, 880, 1120])
def test_answers_of_another_length_are_all_errors(size: int) -> None:
    assert wrong_answers({"requests": 100, "bytes": size * 100, "errors": 0}, 1000, None) == 100


def test_a_server_that_never_answers_is_an_error() -> None:
    assert wrong_answers({"requests": 0, "bytes": 0, "errors": 0}, 1000, None) == 1


def test_calls_that_left_no_row_behind_are_errors() -> None:
    said = {"requests": 100, "bytes": 100_000, "errors": 0}
    assert wrong_answers(said, 1000, 100) == 0
    assert wrong_answers(said, 1000, 116) == 0  # what was in flight at the end was written too
    assert wrong_answers(said, 1000, 60) == 40
