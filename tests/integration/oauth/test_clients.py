"""The clients that people use register and return as they really do; each has its row here.

The documents are served by a real https server, which the guarded client fetches.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.egress.fetch import Egress, Unreachable
from fluxbase.oauth.clients import read_document
from fluxbase.oauth.errors import OAuthError
from tests.https_server import Web
from tests.integration.oauth.dance import Assistant, Person

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

CLAUDE: Final = [
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
]
CODE: Final = ["http://localhost/callback", "http://127.0.0.1/callback"]
CHATGPT: Final = [
    "https://chatgpt.com/connector/oauth/AbC123",
    "https://chatgpt.com/connector_platform_oauth_redirect",
]
VSCODE: Final = [
    "http://127.0.0.1:33418/",
    "http://127.0.0.1/",
    "https://vscode.dev/redirect",
    "https://insiders.vscode.dev/redirect",
]
CURSOR: Final = [
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "http://localhost:8787/callback",
]
# Who, what it registers, and where a person returns to.
REGISTERED: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("Claude", {"redirect_uris": CLAUDE, "token_endpoint_auth_method": "none"}, CLAUDE[0]),
    ("Claude", {"redirect_uris": CLAUDE, "token_endpoint_auth_method": "none"}, CLAUDE[1]),
    (
        "Claude Code",
        {
            "redirect_uris": ["http://localhost:51234/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        },
        "http://localhost:51234/callback",
    ),
    (
        "ChatGPT",
        {"redirect_uris": CHATGPT, "token_endpoint_auth_method": "client_secret_post"},
        CHATGPT[0],
    ),
    ("ChatGPT", {"redirect_uris": CHATGPT, "token_endpoint_auth_method": "none"}, CHATGPT[1]),
    (
        "Visual Studio Code",
        {
            "redirect_uris": VSCODE,
            "grant_types": [
                "authorization_code",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        },
        "http://127.0.0.1:49152/",
    ),
    (
        "Visual Studio Code",
        {"redirect_uris": VSCODE, "token_endpoint_auth_method": "none"},
        VSCODE[2],
    ),
    ("Cursor", {"redirect_uris": CURSOR, "token_endpoint_auth_method": "none"}, CURSOR[0]),
    ("Cursor", {"redirect_uris": CURSOR, "token_endpoint_auth_method": "none"}, CURSOR[2]),
]
# The same of those that publish a document: its path, what stands in it, and the return.
PUBLISHED: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("/oauth/mcp-client-metadata", {"client_name": "Claude", "redirect_uris": CLAUDE}, CLAUDE[0]),
    (
        "/oauth/claude-code-client-metadata",
        {"client_name": "Claude Code", "redirect_uris": CODE},
        "http://localhost:60111/callback",
    ),
    (
        "/oauth/claude-code-client-metadata",
        {"client_name": "Claude Code", "redirect_uris": CODE},
        "http://127.0.0.1:5555/callback",
    ),
    ("/oauth/abc/client.json", {"client_name": "ChatGPT", "redirect_uris": CHATGPT}, CHATGPT[0]),
    (
        "/oauth/client-metadata.json",
        {
            "client_name": "Visual Studio Code",
            "redirect_uris": VSCODE,
            "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
            "token_endpoint_auth_method": "none",
            "logo_uri": "http://127.0.0.1/never-fetched.png",
        },
        "http://127.0.0.1:33418/",
    ),
]


@pytest.mark.parametrize(("name", "metadata", "returns"), REGISTERED)
async def test_who_registers_gets_a_token(
    logins: Callable[..., Any], person: Person, name: str, metadata: dict[str, Any], returns: str
) -> None:
    assistant = Assistant(await logins(), redirect_uri=returns)
    assert (await assistant.register(client_name=name, **metadata)).status_code == 201
    page = await person.consent_page(assistant.request(scope="read:tables offline_access"))
    assert f'<span class="name">{name}</span>' in page.text
    answer = await person.decide(page.text)
    location = answer.headers["location"]
    assert location.startswith(f"{returns}?")
    code = location.partition("code=")[2].partition("&")[0]
    given = (await assistant.redeem(code)).json()
    assert given["refresh_token"]
    assert (await assistant.call(given["access_token"], "list_tables")).status_code == 200


async def test_an_id_and_secret_that_a_person_types_in_work(
    logins: Callable[..., Any], person: Person, backend: Any
) -> None:
    from fluxbase.oauth.clients import Clients

    clients = Clients(backend.database, backend.peppers, Egress())
    made = await clients.register(
        {"redirect_uris": CLAUDE, "token_endpoint_auth_method": "client_secret_post"},
        by="administrator",
    )
    assistant = Assistant(
        await logins(), made["client_id"], CLAUDE[0], secret=made["client_secret"]
    )
    sent = await person.allow(assistant.request())
    assert (await assistant.redeem(sent["code"])).status_code == 200
    await clients.delete(made["client_id"])
    assert (await assistant.redeem(sent["code"])).status_code == 401


@pytest.fixture
async def web(tmp_path: Path) -> AsyncGenerator[Web]:
    async with Web(tmp_path).running() as running:
        yield running


def reaching(web: Web) -> dict[str, Any]:
    return {"egress": {"allow": ["127.0.0.0/8", "::1/128"], "ca_file": web.ca}}


@pytest.mark.parametrize(("path", "document", "returns"), PUBLISHED)
async def test_who_publishes_a_document_gets_a_token(
    logins: Callable[..., Any],
    people: Callable[..., Any],
    web: Web,
    path: str,
    document: dict[str, Any],
    returns: str,
) -> None:
    url = web.publish(path, document)
    person: Person = await people(**reaching(web))
    assistant = Assistant(await logins(**reaching(web)), url, returns)
    page = await person.consent_page(assistant.request())
    assert "<dd>localhost</dd>" in page.text  # where the document is from is known for certain
    assert document["client_name"] in page.text
    answer = await person.decide(page.text)
    assert answer.headers["location"].startswith(f"{returns}?")
    code = answer.headers["location"].partition("code=")[2].partition("&")[0]
    given = (await assistant.redeem(code)).json()
    assert (await assistant.call(given["access_token"], "list_tables")).status_code == 200
    assert web.asked == [path]  # it is kept for a while, and nothing in it is fetched


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/other", {"client_id": "https://localhost/elsewhere", "redirect_uris": CLAUDE}),
        ("/none", {"redirect_uris": []}),
        ("/unsafe", {"redirect_uris": ["javascript:alert(1)"]}),
        ("/secret", {"redirect_uris": CLAUDE, "client_secret": "x"}),
        ("/large", {"redirect_uris": CLAUDE, "client_uri": "x" * 100_000}),
        ("/moved", {"redirect_uris": CLAUDE}),
        ("/missing", None),
    ],
)
async def test_a_document_that_is_not_in_order_makes_no_client(
    people: Callable[..., Any],
    logins: Callable[..., Any],
    web: Web,
    path: str,
    document: dict[str, Any] | None,
) -> None:
    url = f"{web.base}{path}"
    if document is not None:
        web.publish(path, document)
    person: Person = await people(**reaching(web))
    assistant = Assistant(await logins(**reaching(web)), url, CLAUDE[0])
    answer = await person.http.get(f"/oauth/authorize?{assistant.request()}")
    assert answer.status_code == 400
    assert "No client of this id" in answer.text or "no client of this id" in answer.text


async def test_nothing_inside_is_fetched_for_a_stranger(person: Person, web: Web) -> None:
    url = web.publish("/oauth/abc/client.json", {"redirect_uris": CLAUDE})
    assistant = Assistant(person.http, url, CLAUDE[0])
    answer = await person.http.get(f"/oauth/authorize?{assistant.request()}")
    assert answer.status_code == 400
    assert web.asked == []
    # The guard it was: the same request is answered where the network is allowed.
    allowed = Egress((*_networks("127.0.0.0/8", "::1/128"),), web.ca)
    assert json.loads(await allowed.fetch(url))["client_id"] == url
    for wrong in (
        "http://localhost/x",
        "https://127.0.0.1/x",
        "https://0x7f000001/x",
        "https://127.1/",
    ):
        with pytest.raises(Unreachable):
            await allowed.fetch(wrong)


async def test_a_server_that_takes_its_time_is_given_up(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.egress.fetch._SECONDS", 0.3)
    allowed = Egress((*_networks("127.0.0.0/8", "::1/128"),), web.ca)
    with pytest.raises(Unreachable):
        await asyncio.wait_for(allowed.fetch(f"{web.base}/slow"), 5)


def test_a_document_is_an_object() -> None:
    with pytest.raises(OAuthError):
        read_document("https://app.example.com/client", ["x"])


def _networks(*texts: str) -> tuple[Any, ...]:
    from ipaddress import ip_network

    return tuple(ip_network(text) for text in texts)


async def test_a_document_that_is_refused_is_not_asked_for_again_and_again(
    people: Callable[..., Any], logins: Callable[..., Any], web: Web
) -> None:
    person: Person = await people(**reaching(web))
    assistant = Assistant(await logins(**reaching(web)), f"{web.base}/missing", CLAUDE[0])
    address = f"/oauth/authorize?{assistant.request()}"
    await asyncio.gather(*(person.http.get(address) for _ in range(5)))
    assert (await person.http.get(address)).status_code == 400
    assert web.asked == ["/missing"]


async def test_a_public_client_may_name_itself_with_an_empty_secret(
    logins: Callable[..., Any], person: Person
) -> None:
    assistant = Assistant(await logins())
    await assistant.register()
    sent = await person.allow(assistant.request())
    form = {
        "grant_type": "authorization_code",
        "code": sent["code"],
        "code_verifier": assistant.verifier,
    }
    pair = base64.b64encode(f"{assistant.client_id}:".encode()).decode()
    answer = await assistant.http.post(
        "/oauth/token", data=form, headers={"Authorization": f"Basic {pair}"}
    )
    assert answer.status_code == 200, answer.text
