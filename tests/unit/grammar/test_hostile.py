"""Any text at all is read or refused: never another error, and never a long wait."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fluxbase.errors import InvalidFilter
from fluxbase.grammar import query
from fluxbase.grammar.query import Settings
from tests.unit.grammar.trees import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

_PLACE: Final = re.compile(r", character (\d+): ")
_MEGABYTE: Final = 1_000_000
_MOST_SECONDS: Final = 2.0  # of the processor, so that a busy machine changes nothing


def _select(text: str) -> None:
    query.read(text)


def _order(text: str) -> None:
    query.read("*", None, text)


def _value(text: str) -> None:
    query.read("*", {"a": text})


def _list(text: str) -> None:
    query.read("*", {"a": f"in.{text}"})


def _item(text: str) -> None:
    query.read("*", {"a": f"in.({text})"})


def _group(text: str) -> None:
    query.read("*", {"or": text})


def _member(text: str) -> None:
    query.read("*", {"or": [text]})


def _name(text: str) -> None:
    query.read("*", {text: "eq.1"})


def _operator(text: str) -> None:
    query.read("*", {"a": {text: "1"}})


def _embed(text: str) -> None:
    query.read("*,a(b)", embed={text: Settings(limit=1)})


def _embed_order(text: str) -> None:
    query.read("*,a(b)", embed={"a": Settings(order=text)})


def _embed_name(text: str) -> None:
    query.read("*,a(b)", embed={"a": Settings({text: "eq.1"})})


ARGUMENTS: Final[tuple[Callable[[str], None], ...]] = (
    _select, _order, _value, _list, _item, _group, _member, _name, _operator, _embed,
    _embed_order, _embed_name,
)  # fmt: skip
_pieces = st.one_of(
    st.sampled_from(
        ("a", "eq", "in", "is", "not", "and", "or", "like", "any", "fts", "null", "count", "inner",
         "desc", "->", "->>", "...", "::", "()", "text", "sum", "limit", "\\", '"', "{", "}",
         *".,:!*() ", "[", "]", "-", "12", "\u00a0", "\u2028", "\x00", "\ud800", "İ", "ﬁ")
    ),
    st.text(MARKS + "\x00", max_size=3),
)  # fmt: skip
_texts = st.lists(_pieces, max_size=14).map("".join) | st.text(MARKS + "\x00", max_size=30)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["and", "or", "not", "a", "eq", "in", "is"]), inner)
        | st.dictionaries(_texts, inner, max_size=3)
    ),
    max_leaves=8,
)


def refusal(read: Callable[[], object]) -> str | None:
    """Return how a call is refused, if it is; nothing but a refusal of the grammar is allowed."""
    try:
        read()
    except InvalidFilter as error:
        return error.message
    return None


@pytest.mark.parametrize("argument", ARGUMENTS)
@given(text=_texts)
@example("")
@example(" ")
@example("\ud800")
@example("not.")
@example("()")
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_at_a_place_within_it(
    argument: Callable[[str], None], text: str
) -> None:
    told = refusal(lambda: argument(text))
    place = _PLACE.search(told) if told else None
    if place:
        around = len("in.()")  # what some arguments put around the text
        assert 1 <= int(place.group(1)) <= len(text) + around + 1


@given(st.dictionaries(_texts, _json, max_size=3))
@settings(max_examples=400, deadline=None)
def test_any_json_is_a_filter_or_refused(filters: Mapping[str, Any]) -> None:
    refusal(lambda: query.read("*", filters))


@given(st.dictionaries(_texts, st.builds(Settings, st.none() | st.just({"a": "x"}), _texts)))
@settings(max_examples=200, deadline=None)
def test_any_settings_of_embedded_tables_are_read_or_refused(
    embed: Mapping[str, Settings],
) -> None:
    refusal(lambda: query.read("*,a(*,b(c))", embed=embed))


class TooSlowError(BaseException):
    """The processor was busy with one text for too long; no `except Exception` catches it."""


@contextmanager
def _bounded(seconds: float) -> Generator[None]:
    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


_REPEATED: Final = (
    "a", " ", "\t", "\u00a0", "a ", " a", "\\", '"', '""', '\\"', '"\\', "(", ")", "()", "((", "),",
    ",", ",,", "a,", '"a",', "-", "->", "->>", "a->", "a->0", "a->'", ".", "..", "...", "a.",
    "...a(", "a(", "a!b", "!", "a:", ":", "::", "::text", "*", "*,", "not.", "not.and(", "and(",
    "or(a.eq.1,", "a.eq.1,", "a.eq.{", "a.eq.[", "{", "{[", "[", "]", "{}", "0", "-0", "9",
    "a.in.(", "a.in.(1,", "eq(any).", "fts(", "count()", "a.sum(),", "\x00", "é", "İ", "☃",
    "\ud800", "a desc,", "a nullslast ",
)  # fmt: skip
_AROUND: Final = (("", ""), ("a.eq.", '"'), ('(a.eq."', ")"), ("(a.eq.{", "x"), ("a->", ")"))


@pytest.mark.slow
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_megabyte_made_to_be_slow_is_not(argument: Callable[[str], None]) -> None:
    late: list[tuple[str, str, str]] = []
    for repeated in _REPEATED:
        many = repeated * (_MEGABYTE // len(repeated))
        for start, end in _AROUND:
            text = f"{start}{many}{end}"
            try:
                with _bounded(_MOST_SECONDS):
                    refusal(lambda text=text: argument(text))
            except TooSlowError:
                late.append((start, repeated, end))
    assert late == []


def test_the_bound_ends_what_is_slow() -> None:
    with pytest.raises(TooSlowError), _bounded(0.1):
        re.match(r"(a|a)*$", "a" * 40 + "b")


@pytest.mark.parametrize("depth", [31, 33, 100_000])
def test_nesting_has_an_end_before_the_interpreter_does(depth: int) -> None:
    deep = "and(" * depth + "a.eq.1" + ")" * depth
    for read in (
        lambda: query.read("*", {"or": f"({deep})"}),
        lambda: query.read("*", {"or": [deep]}),
        lambda: query.read("a(" * depth + "b" + ")" * depth),
    ):
        assert (refusal(read) is None) == (depth < 32)


def test_nested_json_has_an_end_before_the_interpreter_does() -> None:
    told: Any = {"a": 1}
    for _ in range(60):  # about as deep as JSON from outside may be
        told = {"and": [told]}
    assert refusal(lambda: query.read("*", told)) is not None
    operators: Any = {"eq": 1}
    for _ in range(60):
        operators = {"not": operators}
    refusal(lambda: query.read("*", {"a": operators}))
    repeated: Any = ["(a.eq.1)"]
    for _ in range(60):
        repeated = [repeated]
    refusal(lambda: query.read("*", {"and": repeated, "a": repeated}))
