"""A remembered text gets its values in the order in which it was written."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fluxbase.db.relation import Column, Grant, Relation, Visible
from fluxbase.tables import build, shapes
from fluxbase.tables.plan import All, Among, Compare, Condition, Is, Not, Order, Read

NAMES = ("a", "b", "c")


def column(name: str) -> Column:
    return Column(
        name, "text", "text", "pg_catalog.text", "S", False, True, None, False, False, None, ()
    )


COLUMNS = {name: column(name) for name in NAMES}


def relation() -> Relation:
    return Relation(1, "public", "t", "table", None, True, False, COLUMNS, (), (), (), (), ())


TABLE = Visible(relation(), Grant(select=frozenset(NAMES)), NAMES)

columns = st.sampled_from(list(COLUMNS.values()))
leaves = st.one_of(
    st.builds(Compare, columns, st.sampled_from(["eq", "gt", "like", "cs"]), st.text(max_size=5)),
    st.builds(Among, columns, st.lists(st.text(max_size=3), max_size=3).map(tuple)),
    st.builds(Is, columns, st.sampled_from(["null", "not_null", "true"])),
)
trees: st.SearchStrategy[Condition] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner), st.builds(All, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
plans = st.builds(
    Read,
    table=st.just(TABLE),
    columns=st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple),
    where=trees,
    order=st.lists(
        st.builds(Order, columns, st.booleans(), st.sampled_from([None, "first", "last"])),
        max_size=2,
    ).map(tuple),
    limit=st.integers(1, 1000),
    offset=st.integers(0, 3),
    count=st.sampled_from([None, "exact"]),
    max_bytes=st.integers(1024, 4096),
)


@given(plans)
def test_a_text_asks_for_as_many_values_as_it_is_given(plan: Read) -> None:
    statement = build.read(plan)
    numbers = {int(n) for n in re.findall(r"\$(\d+)", statement.text)}
    assert numbers == set(range(1, len(statement.values) + 1))
    assert [type(v) for v in statement.values[-2:]] == [int, int]
    assert statement.values[-2:] == (plan.limit, plan.max_bytes)


@given(plans, plans)
def test_shapes_are_equal_only_where_the_texts_are(first: Read, second: Read) -> None:
    keys: list[Any] = [shapes.shape(plan, []) for plan in (first, second)]
    texts = [build.read(plan).text for plan in (first, second)]
    assert (keys[0] == keys[1]) == (texts[0] == texts[1])


@given(plans)
def test_a_text_is_not_kept_for_a_table_that_was_read_anew(plan: Read) -> None:
    texts = shapes.Texts()
    text = build.read(plan).text
    key = shapes.shape(plan, [])
    texts.keep(key, plan.table.relation, text)
    assert texts.get(key, plan.table.relation) is text
    assert texts.get(key, relation()) is None
