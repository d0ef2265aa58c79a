"""Every way to get a token that was not granted is refused, and the person is never sent astray."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.integration.oauth.dance import (
    CALLBACK,
    ISSUER,
    RESOURCE,
    Assistant,
    Person,
    query_of,
    until_refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    import httpx2


async def code_for(assistant: Assistant, person: Person) -> str:
    return (await person.allow(assistant.request()))["code"]


def assert_told_here(answer: httpx2.Response) -> None:
    """The person is told, and not sent anywhere."""
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "This cannot be allowed" in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "fbc_nobody"},
        {"client_id": None},
        {"client_id": ""},
        {"client_id": "https://127.0.0.1/client.json"},
        {"client_id": "http://example.com/client.json"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:33418/callback/../x"},
        {"redirect_uri": "http://127.0.0.1:33418/callback?x=1"},
        {"redirect_uri": "http://127.0.0.1:33418/callback#x"},
        {"redirect_uri": "http://localhost:33418/callback"},
        {"redirect_uri": "http://user@127.0.0.1:33418/callback"},
        {"redirect_uri": "http://127.0.0.1:33418@evil.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "//evil.example/callback"},
        {"redirect_uri": ""},
    ],
)
async def test_nobody_is_sent_to_an_address_that_the_client_did_not_register(
    assistant: Assistant, person: Person, changes: dict[str, str | None]
) -> None:
    assert_told_here(await person.http.get(f"/oauth/authorize?{assistant.request(**changes)}"))


async def test_parameters_come_once(assistant: Assistant, person: Person) -> None:
    twice = f"{assistant.request()}&redirect_uri=https%3A%2F%2Fevil.example"
    assert_told_here(await person.http.get(f"/oauth/authorize?{twice}"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"resource": "https://evil.example/mcp"}, "invalid_target"),
        ({"resource": ISSUER}, "invalid_target"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"scope": "read:storage"}, "invalid_scope"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"prompt": "none"}, "interaction_required"),
    ],
)
async def test_a_request_that_is_not_in_order_goes_back_with_state_and_issuer(
    assistant: Assistant, person: Person, changes: dict[str, str | None], error: str
) -> None:
    answer = await person.http.get(f"/oauth/authorize?{assistant.request(**changes)}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    told = query_of(answer.headers["location"])
    assert told["error"] == error
    assert (told["state"], told["iss"]) == (assistant.state, ISSUER)
    assert "code" not in told


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 50},
        {"code_verifier": None},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:33419/callback"},
        {"code": "made up"},
        {"code": None},
    ],
)
async def test_a_code_is_worth_nothing_without_its_proof(
    assistant: Assistant, person: Person, changes: dict[str, str | None]
) -> None:
    code = await code_for(assistant, person)
    answer = await assistant.redeem(code, **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    if "code" not in changes:  # it is used up by the attempt
        assert (await assistant.redeem(code)).json()["error"] == "invalid_grant"


async def test_a_code_is_of_one_client(
    assistant: Assistant, person: Person, logins: Callable[..., Any]
) -> None:
    other = Assistant(await logins(), verifier=assistant.verifier)
    await other.register()
    code = await code_for(assistant, person)
    assert (await other.redeem(code)).json()["error"] == "invalid_grant"
    assert (await assistant.redeem(code)).json()["error"] == "invalid_grant"


async def test_a_code_that_comes_again_ends_all_that_came_of_it(
    assistant: Assistant, person: Person
) -> None:
    code = await code_for(assistant, person)
    given = (await assistant.redeem(code)).json()
    assert (await assistant.redeem(code)).json()["error"] == "invalid_grant"
    assert (await assistant.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    await until_refused(assistant, given["access_token"])


async def test_of_ten_who_redeem_a_code_at_once_one_gets_a_token(
    assistant: Assistant, person: Person
) -> None:
    code = await code_for(assistant, person)
    answers = await asyncio.gather(*(assistant.redeem(code) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9


async def test_of_ten_who_refresh_at_once_one_gets_a_token(
    assistant: Assistant, person: Person
) -> None:
    given = (await assistant.redeem(await code_for(assistant, person))).json()
    answers = await asyncio.gather(*(assistant.refresh(given["refresh_token"]) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9


async def test_a_code_lives_for_a_minute(
    assistant: Assistant, person: Person, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    code = await code_for(assistant, person)
    life = await owner.fetchval(
        "SELECT extract(epoch FROM max(expires_at) - now())::float8 FROM auth.oauth_codes"
    )
    assert 0 < life <= 60
    await owner.execute("UPDATE auth.oauth_codes SET expires_at = now() - interval '1 second'")
    assert (await assistant.redeem(code)).json()["error"] == "invalid_grant"


async def test_codes_and_tokens_are_kept_as_hashes(
    assistant: Assistant, person: Person, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    code = await code_for(assistant, person)
    given = (await assistant.redeem(code)).json()
    cookie = person.http.cookies["fluxbase"]
    tables = ("oauth_codes", "oauth_refresh_tokens", "oauth_grants", "web_sessions", "users")
    for table in tables:
        kept = await owner.fetchval(
            f"SELECT coalesce(string_agg(t::text, ''), '') FROM auth.{table} t"
        )
        for secret in (
            code,
            given["refresh_token"],
            given["access_token"],
            cookie,
            person.password,
        ):
            assert secret not in kept
            assert secret.encode().hex() not in kept


async def test_a_refresh_token_that_comes_again_ends_all_that_came_of_it(
    assistant: Assistant, person: Person
) -> None:
    first = (await assistant.redeem(await code_for(assistant, person))).json()
    second = (await assistant.refresh(first["refresh_token"])).json()
    assert (await assistant.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await assistant.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_refresh_token_is_of_one_client(
    assistant: Assistant, person: Person, logins: Callable[..., Any]
) -> None:
    other = Assistant(await logins())
    await other.register()
    given = (await assistant.redeem(await code_for(assistant, person))).json()
    assert (await other.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await assistant.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_refresh_token_never_widens_and_keeps_its_resource(
    assistant: Assistant, person: Person
) -> None:
    sent = await person.allow(assistant.request(), scopes=["read:tables"])
    given = (await assistant.redeem(sent["code"])).json()
    token = given["refresh_token"]
    wide = await assistant.refresh(token, scope="read:tables write:tables")
    assert wide.json()["error"] == "invalid_scope"
    elsewhere = await assistant.refresh(token, resource="https://evil.example/mcp")
    assert elsewhere.json()["error"] == "invalid_target"
    # Neither used it up.
    assert (await assistant.refresh(token, resource=RESOURCE)).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": "x", "password": "y"},
        {"grant_type": "client_credentials"},
        {"grant_type": None},
    ],
)
async def test_no_other_way_leads_to_a_token(
    assistant: Assistant, form: dict[str, str | None]
) -> None:
    assert (await assistant.token(**form)).json()["error"] == "unsupported_grant_type"


async def test_a_client_that_does_not_prove_itself_is_401(
    logins: Callable[..., Any], person: Person
) -> None:
    assistant = Assistant(await logins())
    await assistant.register(token_endpoint_auth_method="client_secret_post")
    code = await code_for(assistant, person)
    for secret in ("wrong", None):
        assistant.secret = secret
        answer = await assistant.redeem(code)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")
    assistant.client_id = "fbc_unknown"
    assert (await assistant.redeem(code)).status_code == 401


async def test_only_clients_with_a_secret_ask_about_tokens_and_only_about_theirs(
    assistant: Assistant, person: Person, logins: Callable[..., Any]
) -> None:
    given = (await assistant.redeem(await code_for(assistant, person))).json()
    form = {"client_id": assistant.client_id, "token": given["access_token"]}
    assert (await assistant.http.post("/oauth/introspect", data=form)).status_code == 401
    other = Assistant(await logins())
    await other.register(token_endpoint_auth_method="client_secret_post")
    for kind in ("access_token", "refresh_token"):
        form = {
            "client_id": other.client_id,
            "client_secret": str(other.secret),
            "token": given[kind],
        }
        told = await other.http.post("/oauth/introspect", data=form)
        assert told.json() == {"active": False}
        await other.http.post("/oauth/revoke", data=form)  # nor does it end what is not its own
    assert (await assistant.call(given["access_token"], "list_tables")).status_code == 200


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://evil.example/callback",
        "https://user:pass@app.example.com/x",
        "https://app.example.com/#fragment",
        "file:///etc/passwd",
        "https://",
        "callback",
        "https://app.example.com/\\evil",
        "http://127.0.0.1.evil.example/",
        "x" * 3000,
        "",
    ],
)
async def test_an_unsafe_address_is_not_registered(logins: Callable[..., Any], uri: str) -> None:
    answer = await Assistant(await logins()).register(redirect_uris=[uri])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"redirect_uris":"x"}', b'{"redirect_uris":[]}', b'{"a":1,"a":2}']
)
async def test_registration_takes_only_what_is_in_order(
    logins: Callable[..., Any], body: bytes
) -> None:
    answer = await (await logins()).post("/oauth/register", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri")


async def test_registration_is_limited_by_address_and_can_be_turned_off(
    logins: Callable[..., Any],
) -> None:
    http = await logins(remote="198.51.100.77")
    answers = [(await Assistant(http).register()).status_code for _ in range(12)]
    assert answers == [201] * 10 + [429] * 2
    closed = await logins(oauth={"registration": False})
    assert (await Assistant(closed).register()).status_code == 404
    known = (await closed.get("/.well-known/oauth-authorization-server")).json()
    assert "registration_endpoint" not in known


async def test_a_token_of_elsewhere_or_of_another_use_is_401(
    assistant: Assistant, person: Person, logins: Callable[..., Any]
) -> None:
    given = (await assistant.redeem(await code_for(assistant, person))).json()
    token: str = given["access_token"]
    head, body, signature = token.split(".")
    for wrong in (
        given["refresh_token"],
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
    ):
        answer = await assistant.call(wrong, "list_tables")
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    # The same pepper, another address: another audience.
    moved = await logins(oauth={"issuer": "http://localhost:9090"})
    elsewhere = Assistant(moved)
    assert (await elsewhere.call(token, "list_tables")).status_code == 401


async def test_without_the_login_nothing_of_it_is_there(user1: Any) -> None:
    paths = (
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/oauth/authorize?" + urlencode({"client_id": "x"}),
        "/account",
    )
    for path in paths:
        assert (await user1.http.get(path)).status_code == 404
    challenge = (await user1.http.post("/mcp", json={})).headers["www-authenticate"]
    assert challenge == 'Bearer realm="fluxbase"'
