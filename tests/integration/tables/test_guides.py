"""The guides "Querying" and "Writing": what they show is what the server answers, and all of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, get_args

import pytest

from fluxbase.grammar.operators import OPERATORS, QUANTIFIED, TRUTHS
from fluxbase.grammar.tree import Aggregate, Nulls
from tests.integration.tables import guides
from tests.programs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpg import Connection, Record

    from fluxbase.app.backend import Backend
    from tests.world import Caller

TOOLS = {
    "query_table": "querying",
    "count_records": "querying",
    "insert_record": "writing",
    "update_record": "writing",
    "delete_record": "writing",
}
PLANTED = [
    ('{"price": "gt.24"}` | greater | Boskoop', '{"price": "gt.24"}` | greater | Apple'),
    ('"worth": 540.00', '"worth": 540.0'),
    ("did you mean 'price'?", "did you mean 'prices'?"),
    ("1,Lavender,4.50,120", "1,Lavender,4.50,121"),
    ("columns    193 bytes", "columns    192 bytes"),
    ('"next_offset": 4', '"next_offset": 5'),
]


async def _answered(
    page: str, backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> str:
    async with guides.garden(backend, home, keys) as garden:
        return await guides.answered(page, garden)


@pytest.mark.parametrize("name", guides.PAGES)
async def test_every_example_is_answered_as_the_guide_shows(
    name: str, backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> None:
    page = guides.read(name)
    now = await _answered(page, backend, home, keys)
    assert not guides.difference(page, now), guides.difference(page, now)


async def test_a_wrong_answer_in_a_guide_is_found(
    backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> None:
    page = wrong = guides.read("querying")
    for right, planted in PLANTED:
        assert right in wrong
        wrong = wrong.replace(right, planted)
    now = await _answered(wrong, backend, home, keys)
    assert now == page
    found = guides.difference(wrong, now)
    for _, planted in PLANTED:
        assert planted in found


@pytest.mark.parametrize(
    "page",
    [
        '<!-- example -->\n```json\n{"table": "plants"}\n```\n',
        "<!-- example: show=sql -->\n```json\n{}\n```\n\n```text\n?\n```\n",
        "<!-- example: show=none -->\n```json\n{}\n```\n\n```json\n?\n```\n",
        "<!-- example: shows=all -->\n```json\n{}\n```\n\n```json\n?\n```\n",
        "<!-- finds -->\n| Filter | Means | Finds |\n| --- | --- | --- |\n| {} | all | ? |\n",
    ],
)
def test_an_example_that_would_not_be_run_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="line 1: "):
        guides.examples(page)


@pytest.mark.parametrize("name", guides.PAGES)
def test_no_block_or_filter_stands_outside_of_an_example(name: str) -> None:
    page = guides.read(name)
    shown = [example for example in guides.examples(page) if example.show != "names"]
    blocks = re.findall(r"^```(?:json|text|csv)$", page, re.MULTILINE)
    sql = [example for example in shown if example.show == "sql"]
    assert len(blocks) == 2 * len(shown) - len(sql)
    rows = re.findall(r"^\| `\{", page, re.MULTILINE)
    assert len(rows) == len(guides.examples(page)) - len(shown)


async def test_every_argument_of_the_tools_is_shown(user1: Caller) -> None:
    listed = (await user1.rpc("tools/list"))["result"]["tools"]
    schemas = {tool["name"]: tool["inputSchema"] for tool in listed}
    for tool, page in TOOLS.items():
        asked = [e for e in guides.examples(guides.read(page)) if e.tool == tool]
        used = {name for example in asked for name in example.arguments}
        assert used == set(schemas[tool]["properties"]), tool
    settings = schemas["query_table"]["$defs"]["Embedded"]["properties"]
    embeds = [e.arguments.get("embed", {}) for e in guides.examples(guides.read("querying"))]
    assert {name for embed in embeds for given in embed.values() for name in given} == set(settings)


async def test_every_choice_of_an_argument_is_shown(user1: Caller) -> None:
    listed = (await user1.rpc("tools/list"))["result"]["tools"]
    text = "".join(guides.read(name) for name in guides.PAGES)
    for tool in listed:
        if tool["name"] not in TOOLS:
            continue
        for argument in tool["inputSchema"]["properties"].values():
            for choice in _choices(argument):
                assert f"`{choice}`" in text or f'"{choice}"' in text, (tool["name"], choice)


def _choices(schema: dict[str, Any]) -> list[str]:
    return [*schema.get("enum", []), *(c for s in schema.get("anyOf", []) for c in _choices(s))]


def _filters() -> str:
    found = guides.examples(guides.read("querying"))
    return "\n".join(json.dumps(example.arguments.get("filter")) for example in found)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_shown_finding_rows(operator: str) -> None:
    found = [
        example
        for example in guides.examples(guides.read("querying"))
        if example.show == "names"
        and re.search(rf'[".]{operator}(\(\w+\))?[."]', json.dumps(example.arguments["filter"]))
    ]
    assert any(example.told not in ("nothing", "") for example in found)


def test_every_word_of_the_grammar_is_shown() -> None:
    page = guides.read("querying")
    selects = [str(e.arguments.get("select")) for e in guides.examples(page)]
    for aggregate in get_args(Aggregate):
        assert f"`{aggregate}()`" in page
    assert {"count", "sum", "avg", "max"} <= {
        word for select in selects for word in re.findall(r"(\w+)\(\)", select)
    }
    for word in (*TRUTHS, *(f"nulls{n}" for n in get_args(Nulls)), "asc", "desc", "!inner"):
        assert f"`{word}" in page, word
    for operator in QUANTIFIED:
        assert f"`{operator}`" in page, operator
    for quantifier in ("any", "all"):
        assert re.search(rf"\({quantifier}\)", _filters())


@pytest.mark.parametrize(
    ("types", "operators", "leakproof"),
    [
        (("int4", "int8", "text", "uuid", "bool", "date", "timestamptz"), ("=", "<", ">"), True),
        (("numeric", "jsonb", "anyarray", "anyrange"), ("=", "<", ">", "@>", "&&"), False),
        (("text", "tsvector"), ("~~", "~~*", "~", "~*", "@@"), False),
    ],
)
async def test_policies_leave_indexes_to_the_operators_that_the_guide_says(
    owner: Connection[Record], types: tuple[str, ...], operators: tuple[str, ...], leakproof: bool
) -> None:
    rows = await owner.fetch(
        "SELECT t.typname, o.oprname, p.proleakproof FROM pg_operator o "
        "JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_type t ON t.oid = o.oprleft "
        "WHERE (o.oprright = o.oprleft OR o.oprname = '@@') "
        "AND t.typname = ANY ($1) AND o.oprname = ANY ($2)",
        list(types),
        list(operators),
    )
    assert {row["typname"] for row in rows} == set(types)
    assert {row["proleakproof"] for row in rows} == {leakproof}


def test_a_tenants_answers_hold_nothing_of_the_others() -> None:
    for name in guides.PAGES:
        for example in guides.examples(guides.read(name)):
            if example.caller == "user1" and example.show != "sql":
                assert "Fern" not in example.told
                assert "Glass House" not in example.told
            if example.caller == "user2":
                assert "Hosta" not in example.told


@pytest.mark.parametrize("name", guides.PAGES)
def test_the_links_of_a_guide_lead_somewhere(name: str) -> None:
    place = ROOT / "docs" / "guides"
    for target in re.findall(r"\]\(([^)\s]+)\)", guides.read(name)):
        path, _, anchor = target.partition("#")
        file = (place / path).resolve() if path else place / f"{name}.md"
        assert file.is_file(), target
        if anchor:
            assert anchor in _anchors(file.read_text("utf-8")), target


def test_every_section_of_a_guide_is_in_its_contents() -> None:
    for name in guides.PAGES:
        page = guides.read(name)
        assert _anchors(page) <= set(re.findall(r"\(#([^)]+)\)", page)), name


def _anchors(page: str) -> set[str]:
    titles = re.findall(r"^#{2,3} (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
