"""Prompts hold what their caller may see, and words complete to what it may use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp_types.methods import validate_server_result

from fluxbase.auth.keys import NewKey
from fluxbase.mcp.wire import LEGACY
from tests.integration.mcp.modern import post, result_of
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.app.backend import Backend

TEMPLATE = "fluxbase://schema/tables/{schema}/{table}"


async def got(caller: Caller, name: str, **arguments: Any) -> list[dict[str, Any]]:
    answer = await caller.rpc("prompts/get", name=name, arguments=arguments)
    return answer["result"]["messages"]


async def refused(caller: Caller, name: str, **arguments: Any) -> dict[str, Any]:
    return (await caller.rpc("prompts/get", name=name, arguments=arguments))["error"]


async def completed(
    caller: Caller, ref: dict[str, str], argument: str, word: str = "", **given: str
) -> dict[str, Any]:
    params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": word}}
    answer = await caller.rpc("completion/complete", **params, context={"arguments": given})
    return answer["result"]["completion"]


def of_prompt(name: str) -> dict[str, str]:
    return {"type": "ref/prompt", "name": name}


@pytest.fixture
async def narrow(backend: Backend, user1: Caller) -> Caller:
    """A key that reaches one table."""
    new = NewKey("narrow", ("read:tables",), user_id=USER1, allowed_tables=("comments",))
    issued = await backend.keys.create("client_key", new)
    return Caller("narrow", issued.id, issued.key, user1.http)


@pytest.mark.parametrize("version", LEGACY)
async def test_every_answer_fits_the_schema_of_its_version(user1: Caller, version: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("prompts/list", {}),
        ("prompts/get", {"name": "explain_policy", "arguments": {"table": "notes"}}),
    ]
    if version != LEGACY[0]:
        word = {"name": "table", "value": "n"}
        asked.append(("completion/complete", {"ref": of_prompt("review_rls"), "argument": word}))
    for method, params in asked:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await user1.post(body, MCP_Protocol_Version=version)
        validate_server_result(method, version, answer.json()["result"])


async def test_the_modern_era_has_them_too(user1: Caller) -> None:
    listed = await result_of(user1, "prompts/list")
    assert listed["cacheScope"] == "private"
    sent: dict[str, str | None] = {"Mcp_Name": "write_query"}
    params: dict[str, Any] = {"name": "write_query", "arguments": {"question": "how many?"}}
    answer = await post(user1, "prompts/get", sent=sent, **params)
    assert answer.json()["result"]["resultType"] == "complete"
    word = {"name": "table", "value": "not"}
    found = await result_of(
        user1, "completion/complete", ref=of_prompt("review_rls"), argument=word
    )
    assert found["completion"]["values"][0] == "notes"


async def test_arguments_are_listed_with_what_they_mean(user1: Caller) -> None:
    listed = (await user1.rpc("prompts/list"))["result"]["prompts"]
    by_name = {prompt["name"]: prompt for prompt in listed}
    assert [p["name"] for p in listed] == [
        "explore_database",
        "write_query",
        "explain_policy",
        "review_rls",
    ]
    question, table = by_name["write_query"]["arguments"]
    assert (question["name"], question["required"]) == ("question", True)
    assert (table["name"], table["required"]) == ("table", False)
    assert all(p["title"] and p["description"] for p in listed)
    assert all(a["description"] for p in listed for a in p["arguments"])


async def test_an_overview_names_the_callers_tables_and_no_others(
    user1: Caller, narrow: Caller
) -> None:
    [message] = await got(user1, "explore_database", focus="tidiness")
    text = message["content"]["text"]
    assert "public.notes (id, user_id, title" in text
    assert "Notes of users." in text
    assert "tidiness" in text
    assert not any(hidden in text for hidden in ("secret", "vault", "ungranted", "unprotected"))
    [message] = await got(narrow, "explore_database")
    assert "comments" in message["content"]["text"]
    assert "notes (" not in message["content"]["text"]


@pytest.mark.parametrize("name", ["explain_policy", "review_rls"])
async def test_a_table_comes_with_its_policies(user1: Caller, name: str) -> None:
    words, described = await got(user1, name, table="notes")
    assert "public.notes" in words["content"]["text"]
    resource = described["content"]["resource"]
    assert resource["uri"] == "fluxbase://schema/tables/public/notes"
    info = json.loads(resource["text"])
    assert [policy["name"] for policy in info["policies"]] == ["own"]
    assert "secret" not in resource["text"]


async def test_what_is_wrong_is_told_by_name(user1: Caller, narrow: Caller) -> None:
    never = await refused(user1, "no_such_prompt")
    assert (never["code"], never["data"]["code"]) == (-32602, "FLX404")
    unknown = await refused(user1, "review_rls", table="notes", depth="3")
    assert "unknown argument 'depth'" in unknown["message"]
    missing = await refused(user1, "review_rls")
    assert "'table' is required" in missing["message"]
    policy = await refused(user1, "explain_policy", table="notes", policy="none of these")
    assert policy["data"]["hint"] == "known: own"
    # What is hidden looks like what is not there.
    hidden = await refused(narrow, "review_rls", table="notes")
    assert hidden == await refused(narrow, "review_rls", table="no_such_table")


async def test_the_configuration_says_which_prompts_there_are(
    serving: Callable[..., Any], user1: Caller
) -> None:
    async with serving(mcp={"allowed_prompts": ["review_*"]}) as http:
        user1.http = http
        listed = (await user1.rpc("prompts/list"))["result"]["prompts"]
        assert [prompt["name"] for prompt in listed] == ["review_rls"]
        assert (await refused(user1, "explore_database"))["data"]["code"] == "FLX404"


async def test_names_complete_to_what_the_key_may_see(user1: Caller, narrow: Caller) -> None:
    review = of_prompt("review_rls")
    assert (await completed(user1, review, "table", "no"))["values"] == ["notes", "my_notes"]
    assert (await completed(user1, review, "table", "NOTE"))["values"] == ["notes", "my_notes"]
    assert (await completed(narrow, review, "table"))["values"] == ["comments"]
    assert (await completed(user1, review, "table", "vault"))["values"] == []


async def test_other_arguments_narrow_what_completes(user1: Caller) -> None:
    template = {"type": "ref/resource", "uri": TEMPLATE}
    assert (await completed(user1, template, "schema"))["values"] == ["public"]
    found = await completed(user1, template, "table", "com", schema="public")
    assert found == {"values": ["comments"], "total": 1, "hasMore": False}
    assert (await completed(user1, template, "table", "com", schema="hidden"))["values"] == []
    policy = of_prompt("explain_policy")
    assert (await completed(user1, policy, "policy", table="notes"))["values"] == ["own"]
    for given in ({}, {"table": "no_such"}, {"table": "ungranted"}):
        assert (await completed(user1, policy, "policy", **given))["values"] == []


async def test_at_most_a_hundred_values_are_given(
    user1: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.toolkit.completion.MOST", 2)
    found = await completed(user1, of_prompt("review_rls"), "table")
    assert len(found["values"]) == 2
    assert found["total"] > 2
    assert found["hasMore"] is True


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -32602),
        ({"ref": of_prompt("review_rls")}, -32602),
        ({"ref": of_prompt("review_rls"), "argument": {"name": "table"}}, -32602),
        ({"ref": {"type": "ref/x"}, "argument": {"name": "x", "value": ""}}, -32602),
    ],
)
async def test_what_cannot_be_completed_is_refused(
    user1: Caller, params: dict[str, Any], code: int
) -> None:
    assert (await user1.rpc("completion/complete", **params))["error"]["code"] == code


@pytest.mark.parametrize(
    ("ref", "argument"),
    [
        (of_prompt("write_query"), "question"),
        (of_prompt("review_rls"), "no_such_argument"),
        (of_prompt("no_such_prompt"), "table"),
        ({"type": "ref/resource", "uri": "fluxbase://no/{table}"}, "table"),
    ],
)
async def test_what_nobody_can_complete_has_no_values(
    user1: Caller, ref: dict[str, str], argument: str
) -> None:
    found = await completed(user1, ref, argument, "n")
    assert found == {"values": [], "total": 0, "hasMore": False}
