"""What is wrong is told with its place, the nearest right word, and how it is written."""

from __future__ import annotations

from typing import Any, Final

import pytest

from fluxbase.errors import InvalidFilter
from fluxbase.grammar import query
from fluxbase.grammar.operators import HINT as OPERATORS
from fluxbase.grammar.query import Settings
from fluxbase.grammar.select import CASTS

TYPES: Final = "types: " + ", ".join(CASTS)
ITEMS: Final = "write 'id,email', '*' or 'author(name)'"
AGGREGATES: Final = "aggregates: amount.sum(), amount.avg(), amount.min(), amount.max(), id.count()"
SORTING: Final = "write 'created_at.desc,id'"
GROUPS: Final = 'such as {"or": [{"a": 1}, {"b": 2}]}'
EMBED: Final = (
    "embed it in select, such as select='*,author(*)', or put a column's odd name in double quotes"
)
# What was asked, the message, and the hint.
SELECT: Final[tuple[tuple[Any, str, str | None], ...]] = (
    ("", "select, character 1: an item is empty", ITEMS),
    (" ", "select, character 2: an item is empty", ITEMS),
    ("id,,name", "select, character 4: an item is empty", ITEMS),
    (",id", "select, character 1: an item is empty", ITEMS),
    ("id,", "select, character 4: an item is empty", ITEMS),
    ('id "x"', "select, character 4: a comma is missing", ITEMS),
    ("id)", "select, character 3: a comma is missing", ITEMS),
    ("author(", "select, character 8: an item is empty", ITEMS),
    ("author(id", "select, character 10: ')' is missing", None),
    ("author(id))", "select, character 11: a comma is missing", ITEMS),
    ("id::tex", "select, character 5: no cast to 'tex'; did you mean 'text'?", TYPES),
    ("id::regclass", "select, character 5: no cast to 'regclass'", TYPES),
    ("id::", "select, character 5: a type is missing", None),
    ("id.summ()", "select, character 4: unknown aggregate 'summ'; did you mean 'sum'?", AGGREGATES),
    ("id.sum", "select, character 7: '()' is missing after the aggregate", None),
    ("total:", "select, character 7: a column is missing", None),
    (":id", "select, character 1: a column is missing", None),
    ("data->", "select, character 7: a key is missing", None),
    (
        "data->>a->b",
        "select, character 12: '->>' gives text, which has no parts",
        "use '->' before the last",
    ),
    ('"id', "select, character 1: a quote is not closed", None),
    ("author!", "select, character 8: a relationship's name, 'inner' or 'left' is missing", None),
    ("author!a!b(id)", "select, character 10: a second hint", None),
    ("...", "select, character 4: the name of a related table is missing", None),
    ("...author", "select, character 10: '(' is missing after the table's name", None),
    ("*.count()", "select, character 2: a comma is missing", ITEMS),
    ("id::text::int", "select, character 9: a comma is missing", ITEMS),
    ("author.name", "select, character 8: unknown aggregate 'name'", AGGREGATES),
    ("table.*", "select, character 7: an aggregate is missing", None),
    ("a:b:c", "select, character 4: a comma is missing", ITEMS),
    ("id\n,,", "select, character 5: an item is empty", ITEMS),
    ("é,,", "select, character 3: an item is empty", ITEMS),
    ("author(id,posts(id,,))", "select, character 20: an item is empty", ITEMS),
    ("id::varchar(10)", "select, character 12: a comma is missing", ITEMS),
    ("id::text[]x", "select, character 5: no cast to 'text[]x'; did you mean 'text'?", TYPES),
    ("id.count()::txt", "select, character 13: no cast to 'txt'; did you mean 'text'?", TYPES),
    ("a" + "->a" * 33, "select, character 101: more than 32 steps", None),
    ("," * 1600, "select: more than 1600 columns", None),
    ("id::\x07", "select, character 5: a control character stands in no name", None),
)
ORDER: Final[tuple[tuple[Any, str, str | None], ...]] = (
    ("id,", "order, character 4: an item is empty", SORTING),
    (",id", "order, character 1: an item is empty", SORTING),
    ("id.desk", "order, character 4: unknown word 'desk'; did you mean 'desc'?", None),
    ("id.desc.asc", "order, character 9: a second direction", None),
    ("id.nullsfirst.nullslast", "order, character 15: a second direction", None),
    (
        "id.nulls_last",
        "order, character 4: unknown word 'nulls_last'; did you mean 'nullslast'?",
        None,
    ),
    ("author(id", "order, character 10: ')' is missing", None),
    ("author()", "order, character 8: a column is missing", None),
    ("author(id).down", "order, character 12: unknown word 'down'", None),
    ("data->", "order, character 7: a key is missing", None),
    ('"id', "order, character 1: a quote is not closed", None),
    ("id.", "order, character 4: 'asc', 'desc', 'nullsfirst' or 'nullslast' is missing", None),
    ("id..desc", "order, character 4: 'asc', 'desc', 'nullsfirst' or 'nullslast' is missing", None),
    ("id asc,", "order, character 8: an item is empty", SORTING),
    ("id." + "y" * 70, "order, character 4: a name of more than 63 bytes", None),
    ("," * 40, "order: more than 32 columns", None),
)
FILTER: Final[tuple[tuple[Any, str, str | None], ...]] = (
    ({"a": ""}, "filter.a: an operator is missing", OPERATORS),
    ({"a": "active"}, "filter.a: an operator is missing", OPERATORS),
    ({"a": "equals.1"}, "filter.a: unknown operator 'equals'; did you mean 'eq'?", OPERATORS),
    ({"a": "=.1"}, "filter.a: unknown operator '='; did you mean 'eq'?", OPERATORS),
    ({"a": "gtee.5"}, "filter.a: unknown operator 'gtee'; did you mean 'gte'?", OPERATORS),
    ({"a": "like(some).x"}, "filter.a: 'like' takes 'any' or 'all', such as eq(any)", None),
    ({"a": "neq(any).1"}, "filter.a: 'neq' takes nothing in parentheses", None),
    (
        {"a": "fts(eng lish).x"},
        "filter.a: 'fts' takes the name of a text search configuration, such as fts(english)",
        None,
    ),
    ({"a": "is.nul"}, "filter.a: 'is' takes one of null, true, false, unknown, not_null", None),
    ({"a": "in.1,2"}, "filter.a: a list in parentheses is needed, such as in.(1,2,3)", None),
    ({"a": 'in.("a)'}, "filter.a: an item of the list is not well quoted", None),
    ({"a": "not.not.eq.1"}, "filter.a: unknown operator 'not'; did you mean 'isnot'?", OPERATORS),
    ({"a": {}}, "filter.a: an empty object says nothing", OPERATORS),
    ({"a": []}, "filter.a: an empty list says nothing", OPERATORS),
    ({"a": [1, 2]}, "filter.a: a list means that all must hold; for any of them use 'in'", None),
    ({"a": [[1]]}, "filter.a: a list of lists is not a condition", OPERATORS),
    ({"a": {"gte": None}}, "filter.a: null has no order; use 'is' instead of 'gte'", OPERATORS),
    ({"a": {"in": 5}}, "filter.a: 'in' needs a list", OPERATORS),
    ({"a": {"in": [None]}}, "filter.a: null cannot stand in a list; use 'is'", OPERATORS),
    ({"a": {"is": 5}}, "filter.a: 'is' takes one of null, true, false, unknown, not_null", None),
    ({"a": {"eq(any)": 5}}, "filter.a: 'eq(any)' needs a list", OPERATORS),
    ({"a": {"$gt": 1}}, "filter.a: unknown operator '$gt'; did you mean 'gt'?", OPERATORS),
    ({"a": {"!=": 1}}, "filter.a: unknown operator '!='; did you mean 'neq'?", OPERATORS),
    (
        {"a": {"contains": "x"}},
        "filter.a: unknown operator 'contains'; did you mean 'cs'?",
        OPERATORS,
    ),
    ({"": "eq.1"}, "filter, name, character 1: a column is missing", None),
    ({"a.": "eq.1"}, "filter, name, character 3: a column is missing", None),
    (
        {"a(b)": "eq.1"},
        "filter, name, character 2: this is not the name of a column",
        'put odd names in double quotes: "\\"a.b\\""',
    ),
    ({"a->": "eq.1"}, "filter, name, character 4: a key is missing", None),
    (
        {"a->b.c": "eq.1"},
        "filter, name, character 7: a path into JSON has no columns of its own",
        None,
    ),
    (
        {"authr.name": "eq.1"},
        "filter.authr: no embedded table 'authr' in select; did you mean 'author'?",
        EMBED,
    ),
    (
        {"or": ""},
        "filter.or, character 1: 'or' takes a list in parentheses, such as (age.lt.18,age.gt.65)",
        None,
    ),
    ({"or": "()"}, "filter.or, character 2: a column is missing", None),
    ({"or": "(a.eq.1"}, "filter.or, character 8: ')' or ',' is missing", None),
    ({"or": "(a.eq.1,)"}, "filter.or, character 9: a column is missing", None),
    (
        {"or": "(a.eq.1)x"},
        "filter.or, character 9: the group has ended, but the text has not",
        None,
    ),
    ({"or": "(a.eq)"}, "filter.or, character 4: an operator is missing", OPERATORS),
    (
        {"or": "(a.gtee.1)"},
        "filter.or, character 4: unknown operator 'gtee'; did you mean 'gte'?",
        OPERATORS,
    ),
    (
        {"or": "(a.in.1)"},
        "filter.or, character 4: a list in parentheses is needed, such as in.(1,2,3)",
        None,
    ),
    ({"or": '(a.eq."x)'}, "filter.or, character 7: a quote is not closed", None),
    (
        {"or": "(a.is.nope)"},
        "filter.or, character 4: 'is' takes one of null, true, false, unknown, not_null",
        None,
    ),
    ({"or": "(and(a.eq.1)"}, "filter.or, character 13: ')' or ',' is missing", None),
    ({"or": 5}, "filter.or: 'or' takes a list of conditions", GROUPS),
    ({"or": [5]}, "filter.or[0]: a condition is needed", 'such as {"age": {"gte": 18}}'),
    ({"or": ['a.eq."x']}, "filter.or[0], character 6: a quote is not closed", None),
    (
        {"or": [{"author.name": 1}]},
        "filter.or[0].author.name: a group holds conditions of one table",
        "write {'author.or': [...]} for a group about an embedded table",
    ),
    (
        {"or": [{"or": [{"a": "gtee.1"}]}]},
        "filter.or[0].or[0].a: unknown operator 'gtee'; did you mean 'gte'?",
        OPERATORS,
    ),
    ({"not": [1]}, "filter.not: 'not' takes an object of conditions", GROUPS),
    ({"\x07": "active"}, "filter, name, character 1: a control character stands in no name", None),
    ({"a": "\x07.1"}, "filter.a: unknown operator (not a name)", OPERATORS),
    ({"x" * 5000: "eq.1"}, "filter: a name of more than 4096 characters", None),
    ({"a": "in.(" + "," * 10_000 + ")"}, "filter.a: more than 10000 items", None),
)
EMBEDDED: Final[tuple[tuple[Any, str, str | None], ...]] = (
    (
        {"authr": {"limit": 1}},
        "embed.authr: no embedded table 'authr' in select; did you mean 'author'?",
        EMBED,
    ),
    (
        {"": {"limit": 1}},
        "embed, name, character 1: the name of an embedded table is missing",
        None,
    ),
    (
        {"author.": {"limit": 1}},
        "embed, name, character 8: the name of an embedded table is missing",
        None,
    ),
    ({"author": {"order": "id,"}}, "embed.author.order, character 4: an item is empty", SORTING),
    (
        {"author": {"filter": {"a": "foo.1"}}},
        "embed.author.filter.a: unknown operator 'foo'",
        OPERATORS,
    ),
    (
        {"author->x": {"limit": 1}},
        "embed, name, character 7: this is not a path such as 'author' or 'posts.comments'",
        None,
    ),
    ({'"author': {"limit": 1}}, "embed, name, character 1: a quote is not closed", None),
)


def refused(**call: Any) -> InvalidFilter:
    select = call.pop("select", "*,author(id)")
    embed = {path: Settings(**given) for path, given in call.get("embed", {}).items()}
    with pytest.raises(InvalidFilter) as caught:
        query.read(select, call.get("filter"), call.get("order"), embed)
    return caught.value


@pytest.mark.parametrize(("text", "message", "hint"), SELECT)
def test_a_wrong_select_is_told_with_its_place(text: str, message: str, hint: str | None) -> None:
    error = refused(select=text)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(("text", "message", "hint"), ORDER)
def test_a_wrong_order_is_told_with_its_place(text: str, message: str, hint: str | None) -> None:
    error = refused(order=text)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(("filters", "message", "hint"), FILTER)
def test_a_wrong_filter_is_told_with_its_place(
    filters: dict[str, Any], message: str, hint: str | None
) -> None:
    error = refused(filter=filters)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(("embed", "message", "hint"), EMBEDDED)
def test_wrong_settings_of_an_embedded_table_are_told_with_their_place(
    embed: dict[str, Any], message: str, hint: str | None
) -> None:
    error = refused(embed=embed)
    assert (error.message, error.hint) == (message, hint)


def test_no_message_is_long_or_unprintable_whatever_the_call_holds() -> None:
    odd = "\x07\n\u202e" * 3000
    for call in (
        {"select": f"id::{odd}"},
        {"select": f'"a".{odd}()'},
        {"order": f"id.{odd}"},
        {"filter": {odd: "eq.1"}},
        {"filter": {"a": f"{odd}.1"}},
        {"filter": {"a": {odd: 1}}},
        {"filter": {f'"{odd[:200]}".a': "eq.1"}},
        {"embed": {odd: {"limit": 1}}},
    ):
        message = refused(**call).message
        assert message.isprintable()
        assert len(message) < 200


def test_what_a_call_is_compared_with_is_not_told_back() -> None:
    for call in (
        {"filter": {"a": "in.(secret"}},
        {"filter": {"a": "is.secret"}},
        {"filter": {"or": '(a.eq."secret)'}},
        {"filter": {"a": {"in": "secret"}}},
    ):
        assert "secret" not in refused(**call).message


def test_a_character_that_no_name_can_hold_is_told_with_its_place() -> None:
    told = "a NUL character stands in no name"
    assert refused(select='id,"a\x00"').message == f"select, character 6: {told}"
    assert refused(order="a\x00").message == f"order, character 2: {told}"
    assert refused(filter={"a\x00": 1}).message == f"filter, name, character 2: {told}"
    assert refused(filter={"or": '(a.eq."\x00")'}).message == f"filter.or, character 8: {told}"


def test_sqls_way_of_sorting_leaves_the_places_of_what_follows_as_they_are() -> None:
    message = "order, character 21: unknown word 'desk'; did you mean 'desc'?"
    assert refused(order="a desc nulls last,b.desk").message == message
