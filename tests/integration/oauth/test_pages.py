"""Pages are for the person before them: no other page, frame, script or cookie jar has a say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.oauth.dance import ISSUER, Assistant, Person, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable


async def code_for(assistant: Assistant, person: Person) -> str:
    return (await person.allow(assistant.request()))["code"]


async def test_guessing_passwords_is_slow_work(people: Callable[..., Any]) -> None:
    person: Person = await people(email="guess@example.com", id_=None, remote="198.51.100.78")
    right, person.password = person.password, "a wrong password"
    answers = [(await person.log_in()).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    # From elsewhere the same account stays closed for a while, whatever the password.
    elsewhere: Person = Person(
        (await people(email="other@example.com", id_=None, remote="198.51.100.79")).http,
        person.email,
        right,
    )
    assert (await elsewhere.log_in()).status_code == 429


async def test_an_unknown_user_looks_like_a_wrong_password(people: Callable[..., Any]) -> None:
    person: Person = await people(email="known@example.com", id_=None, remote="198.51.100.80")
    person.password = "a wrong password"
    known = await person.log_in()
    person.email = "nobody@example.com"
    unknown = await person.log_in()
    assert (known.status_code, unknown.status_code) == (401, 401)
    assert known.text.replace("known@", "x@") == unknown.text.replace("nobody@", "x@")


async def test_a_form_that_another_page_sends_is_refused(
    assistant: Assistant, person: Person
) -> None:
    page = await person.consent_page(assistant.request())
    form = {**fields_of(page.text), "decision": "allow", "scope": "read:tables"}
    for token in ("", "0" * 64, "☃"):
        answer = await person.http.post("/oauth/authorize", data={**form, "csrf": token})
        assert answer.status_code == 400
        assert "location" not in answer.headers
    foreign = await person.http.post(
        "/oauth/authorize", data=form, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    own = await person.http.post("/oauth/authorize", data=form, headers={"Origin": ISSUER})
    assert own.status_code == 303
    grants = await person.http.get("/account")
    revoke = {**fields_of(grants.text), "csrf": "0"}
    assert (await person.http.post("/account/revoke", data=revoke)).status_code == 400


async def test_nobody_is_logged_in_by_another_page(person: Person) -> None:
    form = {
        "email": person.email,
        "password": person.password,
        "csrf": "0" * 64,
        "next": "/account",
    }
    answer = await person.http.post("/oauth/login", data=form)
    assert answer.status_code == 401
    assert "fluxbase" not in person.http.cookies


async def test_nobody_takes_back_what_another_granted(
    assistant: Assistant, person: Person, people: Callable[..., Any]
) -> None:
    given = (await assistant.redeem(await code_for(assistant, person))).json()
    page = (await person.http.get("/account")).text
    grant = fields_of(page)["grant"]
    other: Person = await people(email="two@example.com", id_=None)
    await other.log_in()
    form = {"csrf": fields_of((await other.http.get("/account")).text)["csrf"], "grant": grant}
    assert "It is disconnected" not in (await other.http.post("/account/revoke", data=form)).text
    assert (await assistant.call(given["access_token"], "list_tables")).status_code == 200


@pytest.mark.parametrize(
    "leads",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/oauth/authorize",
        "javascript:alert(1)",
        "/oauth/authorize?x\r\nSet-Cookie: a=b",
        "",
    ],
)
async def test_a_login_leads_to_a_page_of_ours(person: Person, leads: str) -> None:
    answer = await person.log_in(leads)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/account"


async def test_pages_cannot_be_framed_scripted_kept_or_told_of(
    assistant: Assistant, person: Person
) -> None:
    for page in (
        await person.http.get("/oauth/login"),
        await person.consent_page(assistant.request()),
        await person.http.get("/account"),
        await person.http.get("/oauth/authorize"),
    ):
        policy = page.headers["content-security-policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy
        assert "script" not in policy
        assert "unsafe" not in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in page.text


async def test_where_a_client_sends_people_on_to_is_its_own_affair(
    assistant: Assistant, person: Person
) -> None:
    consent = await person.consent_page(assistant.request())
    assert "form-action" not in consent.headers["content-security-policy"]
    login = await person.http.get("/oauth/login")
    assert "form-action 'self'" in login.headers["content-security-policy"]
    # A login in a window that an assistant opened can tell the assistant's page of its end.
    assert "cross-origin-opener-policy" not in consent.headers


async def test_what_a_client_says_of_itself_is_only_text(
    logins: Callable[..., Any], person: Person
) -> None:
    assistant = Assistant(await logins())
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e'
    await assistant.register(client_name=evil)
    page = (await person.consent_page(assistant.request(state='"><script>'))).text
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    people: Callable[..., Any],
) -> None:
    person: Person = await people(email="cookie@example.com", id_=None)
    cookie = (await person.log_in()).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    issuer = "https://db.example.com"
    secure: Person = await people(email="cookie2@example.com", id_=None, oauth={"issuer": issuer})
    secure.http.base_url = issuer  # type: ignore[assignment]
    answer = await secure.log_in()
    cookies = answer.headers.get_list("set-cookie")
    assert all(c.startswith("__Host-") and "secure" in c.lower() for c in cookies)


async def test_logging_out_ends_the_browser(person: Person) -> None:
    await person.log_in()
    page = (await person.http.get("/account")).text
    kept = person.http.cookies["fluxbase"]
    await person.http.post("/account/logout", data={"csrf": fields_of(page)["csrf"]})
    assert "fluxbase" not in person.http.cookies
    again = await person.http.get("/account", headers={"Cookie": f"fluxbase={kept}"})
    assert again.status_code == 303


async def test_a_password_is_one_whatever_keyboard_writes_it(
    people: Callable[..., Any], users: Any
) -> None:
    person: Person = await people(email="spelling@example.com", id_=None)
    await users.update(person.email, {"password": "caf\u00e9 and croissants"})
    person.password = "cafe\u0301 and croissants"
    assert (await person.log_in()).status_code == 303


async def test_pages_are_counted_by_address(logins: Callable[..., Any]) -> None:
    http = await logins(remote="198.51.100.90")
    answers = [(await http.get("/oauth/login")).status_code for _ in range(121)]
    assert answers == [200] * 120 + [429]
