"""fluxbase://schema/…: the catalog as resources, compact, in pages of limited size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.keys import NewKey
from fluxbase.schema import resources
from tests.world import TABLES, USER1, Caller

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend

ALL = "fluxbase://schema/tables"


async def read(caller: Caller, uri: str = ALL) -> Any:
    answer = await caller.rpc("resources/read", uri=uri)
    [content] = answer["result"]["contents"]
    assert content["uri"] == uri
    assert content["mimeType"] == "application/json"
    return json.loads(content["text"])


async def code(caller: Caller, uri: object) -> int:
    return (await caller.rpc("resources/read", uri=uri))["error"]["code"]


async def test_the_resources_are_listed(user1: Caller) -> None:
    plain = (await user1.rpc("resources/list"))["result"]["resources"]
    templates = (await user1.rpc("resources/templates/list"))["result"]["resourceTemplates"]
    assert ALL in [entry["uri"] for entry in plain]
    assert f"{ALL}/{{schema}}/{{table}}" in [entry["uriTemplate"] for entry in templates]
    for entry in (*plain, *templates):
        assert entry["name"]
        assert entry["title"]
        assert entry["description"]
        assert entry["mimeType"] == "application/json"


async def test_a_caller_without_the_scope_sees_no_resources(callers: dict[str, Caller]) -> None:
    for name in ("writer", "jobs"):
        assert (await callers[name].rpc("resources/list"))["result"] == {"resources": []}
        assert await code(callers[name], ALL) == -32002


async def test_the_tables_are_those_of_the_tool(user1: Caller) -> None:
    listed = await read(user1)
    assert listed["tables"] == (await user1.call("list_tables"))["tables"]
    assert listed["next"] is None
    assert await read(user1) == listed


async def test_a_table_is_what_the_tool_describes(user1: Caller) -> None:
    table = await read(user1, f"{ALL}/public/notes")
    assert table == await user1.call("describe_table", table="notes")


async def test_a_name_in_a_uri_may_be_encoded(user1: Caller) -> None:
    table = await read(user1, f"{ALL}/public/odd%20%22name%22%20%E2%98%83")
    assert table["name"] == 'odd "name" ☃'


@pytest.mark.parametrize(
    "uri",
    [
        f"{ALL}/hidden/vault",
        f"{ALL}/auth/client_keys",
        f"{ALL}/public/unprotected",
        f"{ALL}/public/no",
        f"{ALL}/public",
        f"{ALL}/public/notes/more",
        f"{ALL}/",
        f"{ALL}?offset=x",
        f"{ALL}?offset=-1",
        f"{ALL}?offset=\u0661",
        f"{ALL}?offset=9999999999",
        "fluxbase://schema",
        "file:///etc/passwd",
        "",
        "x" * 5000,
    ],
)
async def test_what_a_caller_may_not_see_is_unknown(user1: Caller, uri: str) -> None:
    assert await code(user1, uri) == -32002


@pytest.mark.parametrize("uri", [None, 5, [ALL], {"uri": ALL}])
async def test_a_uri_that_is_no_text_is_an_invalid_parameter(user1: Caller, uri: object) -> None:
    assert await code(user1, uri) == -32602


async def test_pages_end_at_the_size_limit_and_name_the_next(
    user1: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (await read(user1))["tables"]
    monkeypatch.setattr(resources, "_MOST_BYTES", 400)
    seen: list[dict[str, Any]] = []
    uri: str | None = ALL
    pages = 0
    while uri is not None:
        page = await read(user1, uri)
        assert page["tables"]
        seen += page["tables"]
        uri = page["next"]
        pages += 1
    assert seen == whole
    assert pages > 2


async def test_past_the_end_is_an_empty_page(user1: Caller) -> None:
    assert await read(user1, "fluxbase://schema/tables?offset=999") == {"tables": [], "next": None}


async def test_a_caller_without_any_table_gets_an_empty_page(
    user1: Caller, backend: Backend
) -> None:
    issued = await backend.keys.create(
        "client_key",
        NewKey("no tables", TABLES, user_id=USER1, allowed_tables=("nothing_*",)),
    )
    none = Caller("none", issued.id, issued.key, user1.http)
    assert await read(none) == {"tables": [], "next": None}
