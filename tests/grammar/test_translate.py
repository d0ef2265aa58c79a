"""Requests become arguments without a word of them being understood."""

from __future__ import annotations

from tests.grammar.translate import arguments


def test_every_parameter_goes_to_its_argument() -> None:
    asked = "/tasks?select=id,comments(id)&done=is.true&order=id.desc&limit=5&offset=2"
    assert arguments(asked) == {
        "table": "tasks",
        "select": "id,comments(id)",
        "filter": {"done": "is.true"},
        "order": "id.desc",
        "limit": 5,
        "offset": 2,
    }


def test_what_shapes_an_embed_goes_to_embed_and_what_filters_it_to_filter() -> None:
    asked = "/a?b.c.order=id&b.c.limit=1&b.offset=3&b.c.name=eq.x&b.or=(x.eq.1)&not.and=(y.eq.2)"
    assert arguments(asked) == {
        "table": "a",
        "embed": {"b.c": {"order": "id", "limit": 1}, "b": {"offset": 3}},
        "filter": {"b.c.name": "eq.x", "b.or": "(x.eq.1)", "not.and": "(y.eq.2)"},
    }


def test_what_comes_several_times_becomes_a_list() -> None:
    assert arguments("/a?n=gt.1&n=lt.9&n=neq.5") == {
        "table": "a",
        "filter": {"n": ["gt.1", "lt.9", "neq.5"]},
    }


def test_what_is_encoded_is_decoded_once() -> None:
    assert arguments("/Weird%20Name?a=like.100%2525*&b=eq.x+y&c=eq.%26&d=eq.") == {
        "table": "Weird Name",
        "filter": {"a": "like.100%25*", "b": "eq.x y", "c": "eq.&", "d": "eq."},
    }


def test_a_quoted_name_with_a_dot_is_no_path_of_embeds() -> None:
    assert arguments('/a?"b.order"=eq.1') == {"table": "a", "filter": {'"b.order"': "eq.1"}}


def test_a_limit_that_is_no_number_is_passed_on_as_it_stands() -> None:
    assert arguments("/a?limit=two&b.limit=-1") == {
        "table": "a",
        "limit": "two",
        "embed": {"b": {"limit": "-1"}},
    }
