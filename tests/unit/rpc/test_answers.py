"""What is kept of answers is bounded in time and bytes."""

from __future__ import annotations

from fluxbase.rpc.answers import Answers, Given


def given(data: str) -> Given:
    return Given("id", data, 1, truncated=False)


def test_an_answer_is_kept_until_its_time_is_over() -> None:
    now = 0.0
    answers = Answers(10_000, lambda: now)
    answers.keep(b"a", given("1"), 5)
    assert answers.find(b"a") == given("1")
    now = 4.9
    assert answers.find(b"a") == given("1")
    now = 5.0
    assert answers.find(b"a") is None
    now = 0.0
    assert answers.find(b"a") is None
    assert answers.find(b"b") is None


def test_the_one_not_asked_for_longest_goes_first() -> None:
    answers = Answers(3 * 1512)
    for name in (b"a", b"b", b"c"):
        answers.keep(name, given("x" * 1000), 60)
    answers.find(b"a")
    answers.keep(b"d", given("x" * 1000), 60)
    assert [name for name in (b"a", b"b", b"c", b"d") if answers.find(name)] == [b"a", b"c", b"d"]


def test_an_answer_in_the_place_of_another_takes_no_more_room() -> None:
    answers = Answers(2 * 1512)
    answers.keep(b"a", given("x" * 1000), 60)
    for _ in range(5):
        answers.keep(b"b", given("ü" * 500), 60)
    assert answers.find(b"a") is not None
    answers.keep(b"b", given("ü" * 1000), 60)
    assert answers.find(b"a") is None


def test_what_is_larger_than_all_there_may_be_is_not_kept() -> None:
    answers = Answers(1000)
    answers.keep(b"a", given("1"), 60)
    answers.keep(b"a", given("x" * 1000), 60)
    assert answers.find(b"a") is None
