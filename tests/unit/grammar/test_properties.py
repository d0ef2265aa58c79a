"""What is written of a tree is read as that tree, in text and in JSON, with its own operands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbase.grammar import order, query, select, tree
from fluxbase.grammar.tree import Field, Group, Is, Not, Query, Star, Step
from tests.unit.grammar import printing
from tests.unit.grammar.printing import Form, printed
from tests.unit.grammar.trees import Said, fields, settled, sorts, trees, wheres

if TYPE_CHECKING:
    from fluxbase.grammar.query import Asked
    from tests.unit.grammar.printing import Value

forms = st.sampled_from(["text", "json"])
_OTHER: dict[type, Any] = {str: "other", tuple: ("x", "y"), list: ["z"], int: 7}


def read(said: Said, form: Form) -> Asked:
    """Return what the parser makes of a tree that was written down."""
    call = printed(said.tree, said.operands, form)
    return query.read(call.select, call.filter, call.order, call.embed)


def values(asked: Asked) -> list[object]:
    """Return the operands without their places."""
    return [operand.value for operand in asked.operands]


def expected(operands: list[Value], form: Form) -> list[Value]:
    """Return operands as the parser gives them: a text of braces stays one until it is bound."""
    if form == "json":
        return operands
    return [printing.array(value) if isinstance(value, list) else value for value in operands]


@given(trees(), forms)
@settings(max_examples=200, deadline=None)
def test_a_tree_that_is_written_down_is_read_as_itself(said: Said, form: Form) -> None:
    asked = read(said, form)
    right = settled(said.tree, expected(said.operands, form))
    assert settled(asked.tree, values(asked)) == right


@given(wheres(), forms)
@settings(max_examples=200, deadline=None)
def test_conditions_that_are_written_down_are_read_as_themselves(said: Said, form: Form) -> None:
    asked = read(said, form)
    right = settled(said.tree, expected(said.operands, form))
    assert settled(asked.tree, values(asked)) == right


@given(trees())
@settings(max_examples=100, deadline=None)
def test_text_and_json_give_one_tree(said: Said) -> None:
    assert read(said, "text").tree == read(said, "json").tree


@given(trees(), forms)
@settings(max_examples=100, deadline=None)
def test_calls_that_differ_in_their_operands_alone_have_one_tree(said: Said, form: Form) -> None:
    others = Said(said.tree, [_OTHER[type(value)] for value in said.operands])
    # The name of a text search configuration is an operand like any other.
    first, second = read(said, form).tree, read(others, form).tree
    assert first == second
    assert hash(first) == hash(second)


@given(trees(), trees())
@settings(max_examples=100, deadline=None)
def test_trees_are_equal_only_when_the_same_was_said(one: Said, other: Said) -> None:
    same = settled(one.tree, one.operands)[0] == settled(other.tree, other.operands)[0]
    assert (settled(*read(one, "text"))[0] == settled(*read(other, "text"))[0]) == same


_names = st.sampled_from(["a", "b"])
_few_fields = st.builds(
    Field,
    _names,
    st.sampled_from([(), (Step("a", text=True),), (Step(0, text=True),), (Step("0", text=True),)]),
)
_few = st.recursive(
    st.builds(Is, _few_fields, st.sampled_from(["null", "true"]))
    | st.builds(
        tree.Test,
        _few_fields,
        st.sampled_from(["eq", "gt"]),
        st.just(0),
        st.sampled_from([None, "any"]),
    ),
    lambda inner: (
        st.builds(Group, st.sampled_from(["and", "or"]), st.tuples(inner) | st.tuples(inner, inner))
        | st.builds(Not, inner.filter(lambda node: not isinstance(node, Not)))
    ),
    max_leaves=3,
)


@given(_few, _few)
@settings(max_examples=200, deadline=None)
def test_conditions_that_are_nearly_alike_are_told_apart(one: Any, other: Any) -> None:
    trees_ = [
        read(Said(Query((Star(),), Group("and", (node,))), [["x"]]), "text").tree
        for node in (one, other)
    ]
    first, second = (settled(tree, [None] * 9)[0] for tree in trees_)
    same = (
        settled(Query((), Group("and", (one,))), [None])[0]
        == (settled(Query((), Group("and", (other,))), [None])[0])
    )
    assert (first == second) == same


@given(fields(), sorts())
@settings(max_examples=150, deadline=None)
def test_what_is_kept_of_a_text_is_what_it_says(name: Field, sort: Any) -> None:
    # Short texts are remembered, long ones are not; both must be read alike.
    text = printing.field_text(name)
    items = select.parse(text)
    assert select.parse(" " * 4096 + text) == items
    written = printing.order([sort])
    assert written is not None
    assert order.parse(written) == order.parse(" " * 4096 + written) == (sort,)


def test_an_operand_is_told_apart_by_its_form() -> None:
    told = query.read("*", {"a": "eq.1", "b": {"eq": "1"}, "c": 1})
    assert [(o.value, o.is_json) for o in told.operands] == [("1", False), ("1", True), (1, True)]


def test_places_of_operands_are_those_of_the_call() -> None:
    told = query.read(
        "*,x(y)",
        {"a": "eq.1", "or": "(b.eq.2,c.in.(3,4))", "x.y": {"gt": 5}},
        None,
        {"x": query.Settings({"z": "lt.6"}, None, 7, 8)},
    )
    assert [operand.where for operand in told.operands] == [
        "filter.a",
        "filter.or, character 4",
        "filter.or, character 11",
        "filter.x.y",
        "embed.x.filter.z",
        "embed.x.limit",
        "embed.x.offset",
    ]
