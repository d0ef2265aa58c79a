"""The whole login: from a challenge to rows that follow the user, and back to nothing."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.integration.mcp.live import until
from tests.integration.oauth.dance import (
    ISSUER,
    RESOURCE,
    Assistant,
    Person,
    fields_of,
    status,
    until_refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from fluxbase.app.server import Server


async def tokens(assistant: Assistant, person: Person, **changes: str | None) -> dict[str, Any]:
    sent = await person.allow(assistant.request(**changes))
    answer = await assistant.redeem(sent["code"])
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_assistant_finds_its_way_from_a_401_to_rows_of_its_user(
    logins: Callable[..., Any], person: Person
) -> None:
    assistant = Assistant(await logins())
    challenge = (await assistant.http.post("/mcp", json={})).headers["www-authenticate"]
    assert 'scope="read:tables write:tables read:schema"' in challenge
    metadata = challenge.partition('resource_metadata="')[2].partition('"')[0]
    resource = (await assistant.http.get(metadata)).json()
    assert resource["resource"] == RESOURCE
    [server] = resource["authorization_servers"]
    known = (await assistant.http.get(f"{server}/.well-known/oauth-authorization-server")).json()
    assert known["issuer"] == server == ISSUER
    assert known["code_challenge_methods_supported"] == ["S256"]
    assert (await assistant.register()).status_code == 201
    sent = await person.allow(assistant.request())
    assert (sent["state"], sent["iss"]) == (assistant.state, ISSUER)
    answer = await assistant.redeem(sent["code"])
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert given["token_type"] == "Bearer"
    assert given["scope"] == "read:tables write:tables"
    called = await assistant.call(given["access_token"], "query_table", table="notes", limit=100)
    rows = called.json()["result"]["structuredContent"]["rows"]
    assert len(rows) == 10
    assert {row["user_id"] for row in rows} == {"00000000-0000-4000-8000-000000000001"}


async def test_a_refresh_token_is_good_for_one_pair_of_new_ones(
    assistant: Assistant, person: Person
) -> None:
    first = await tokens(assistant, person)
    second = (await assistant.refresh(first["refresh_token"])).json()
    assert second["access_token"] != first["access_token"]
    narrow = await assistant.refresh(second["refresh_token"], scope="read:tables")
    assert narrow.json()["scope"] == "read:tables"
    wide = await assistant.refresh(narrow.json()["refresh_token"])
    assert wide.json()["scope"] == "read:tables write:tables"


async def test_a_user_sees_its_assistants_and_takes_one_back(
    assistant: Assistant, person: Person
) -> None:
    given = await tokens(assistant, person)
    page = await person.http.get("/account")
    assert "Assistant" in page.text
    assert "Add, change and delete rows" in page.text
    form = {**fields(page.text)}
    done = await person.http.post("/account/revoke", data=form)
    assert "It is disconnected." in done.text
    assert "No assistant is connected." in done.text
    await until_refused(assistant, given["access_token"])
    assert (await assistant.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_an_assistant_gives_its_token_back(assistant: Assistant, person: Person) -> None:
    for kind in ("access_token", "refresh_token"):
        given = await tokens(assistant, person)
        form = {"client_id": assistant.client_id, "token": given[kind]}
        assert (await assistant.http.post("/oauth/revoke", data=form)).status_code == 200
        await until_refused(assistant, given["access_token"])


async def test_a_disabled_user_is_out_within_seconds_and_in_again_when_enabled(
    assistant: Assistant, person: Person, users: Any
) -> None:
    given = await tokens(assistant, person)
    await users.update(person.email, {"disabled": True})
    await until_refused(assistant, given["access_token"])
    assert (await assistant.refresh(given["refresh_token"])).status_code == 400
    assert (await person.http.get("/account")).status_code == 303
    assert (await person.log_in()).status_code == 401
    await users.update(person.email, {"disabled": False})
    await until(lambda: status(assistant, given["access_token"], "list_tables"), 200)


async def test_a_user_grants_less_than_was_asked_for(assistant: Assistant, person: Person) -> None:
    sent = await person.allow(assistant.request(), scopes=["read:tables"])
    given = (await assistant.redeem(sent["code"])).json()
    assert given["scope"] == "read:tables"
    token = given["access_token"]
    refused = await assistant.call(token, "insert_record", table="notes", data={"title": "x"})
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="read:tables write:tables"' in challenge
    assert "resource_metadata=" in challenge
    assert (await assistant.call(token, "no_such_tool")).status_code == 200


async def test_nobody_grants_more_than_it_may(
    assistant: Assistant, people: Callable[..., Any]
) -> None:
    person: Person = await people(scopes=("read:tables",))
    page = await person.consent_page(assistant.request())
    assert "Add, change and delete rows <code>" not in page.text
    assert "which you cannot grant" in page.text
    answer = await person.decide(page.text, scopes=["read:tables", "write:tables"])
    code = answer.headers["location"].partition("code=")[2].partition("&")[0]
    assert (await assistant.redeem(code)).json()["scope"] == "read:tables"


async def test_what_a_user_loses_its_assistants_lose(
    assistant: Assistant, person: Person, users: Any
) -> None:
    given = await tokens(assistant, person)
    await users.update(person.email, {"scopes": ("read:tables",)})
    await until(lambda: status(assistant, given["access_token"], "insert_record"), 403)


async def test_a_user_says_no(assistant: Assistant, person: Person) -> None:
    page = await person.consent_page(assistant.request())
    answer = await person.decide(page.text, "deny")
    location = answer.headers["location"]
    assert location.startswith(assistant.redirect_uri + "?")
    assert "error=access_denied" in location
    assert f"state={assistant.state}" in location
    assert "iss=http%3A%2F%2Flocalhost%3A8080" in location


async def test_the_page_says_who_asks_for_what(assistant: Assistant, person: Person) -> None:
    page = (await person.consent_page(assistant.request())).text
    for words in (
        'Allow <span class="name">Assistant</span>',
        "127.0.0.1:33418",
        "one@example.com",
        "Read rows of tables",
        "public.notes",
    ):
        assert words in page
    assert "hidden.vault" not in page


async def test_a_client_with_a_secret_proves_itself_in_either_way(
    logins: Callable[..., Any], person: Person
) -> None:
    for method in ("client_secret_post", "client_secret_basic"):
        assistant = Assistant(await logins())
        await assistant.register(token_endpoint_auth_method=method)
        sent = await person.allow(assistant.request())
        form: dict[str, str] = {
            "grant_type": "authorization_code",
            "code": sent["code"],
            "code_verifier": assistant.verifier,
            "redirect_uri": assistant.redirect_uri,
        }
        pair = f"{assistant.client_id}:{assistant.secret}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        answer = await assistant.http.post("/oauth/token", data=form, headers=headers)
        assert answer.status_code == 200, answer.text
        told = await assistant.http.post(
            "/oauth/introspect", data={"token": answer.json()["access_token"]}, headers=headers
        )
        assert told.json()["active"] is True
        assert told.json()["scope"] == "read:tables write:tables"


async def test_every_step_is_recorded(
    assistant: Assistant, person: Person, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    before = await owner.fetchval("SELECT coalesce(max(id), 0) FROM platform.audit")
    await tokens(assistant, person)
    found = await owner.fetch(
        "SELECT action FROM platform.audit WHERE id > $1 AND action LIKE 'oauth/%'", before
    )
    assert [row["action"] for row in found] == ["oauth/login", "oauth/grant", "oauth/token"]


def fields(page: str) -> dict[str, str]:
    return fields_of(page.partition("/account/revoke")[2].partition("</form>")[0])


async def test_two_assistants_of_one_user_share_no_session(
    assistant: Assistant, person: Person, logins: Callable[..., Any]
) -> None:
    other = Assistant(await logins())
    await other.register()
    mine, theirs = await tokens(assistant, person), await tokens(other, person)
    session = (await assistant.initialize(mine["access_token"])).headers["mcp-session-id"]
    assert (await assistant.ping(mine["access_token"], session)).status_code == 200
    assert (await other.ping(theirs["access_token"], session)).status_code == 404
    assert (await assistant.ping(mine["access_token"], session)).status_code == 200


async def test_a_grant_that_is_used_says_when(
    assistant: Assistant,
    person: Person,
    servers: dict[str, Server],
    owner: asyncpg.Connection[asyncpg.Record],
) -> None:
    given = await tokens(assistant, person)
    asked = "SELECT count(*) FROM auth.oauth_grants WHERE used_at > now() - interval '1 minute'"
    await owner.execute("UPDATE auth.oauth_grants SET used_at = NULL")
    assert await status(assistant, given["access_token"], "list_tables") == 200
    [server] = servers.values()
    await server.flush_uses()
    assert await owner.fetchval(asked) == 1
