"""The clients that people use register and return as they really do; each has its row here.

The documents are served by a real https server, which the guarded client fetches.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import ssl
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fluxbase.egress.fetch import Egress, Unreachable
from fluxbase.oauth.clients import read_document
from fluxbase.oauth.errors import OAuthError
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


class Web:
    """An https server with documents, and what it takes to trust it."""

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.ca = folder / "ca.pem"
        self._pem = folder / "server.pem"
        self._certify()

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    def publish(self, path: str, document: dict[str, Any]) -> str:
        url = f"{self.base}{path}"
        self.documents[path] = json.dumps({"client_id": url, **document}).encode()
        return url

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Web]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pem)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port: int = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked.append(path)
        body = self.documents.get(path)
        if path == "/moved":
            answer = b"HTTP/1.1 302 Found\r\nLocation: /oauth/abc/client.json\r\n"
            body = b""
        elif path == "/slow":
            await asyncio.sleep(30)
            return
        else:
            answer = b"HTTP/1.1 200 OK\r\n" if body is not None else b"HTTP/1.1 404 No\r\n"
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body or b"")
        writer.write(answer + length + (body or b""))
        await writer.drain()
        writer.close()

    def _certify(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        self.ca.write_bytes(public)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._pem.write_bytes(private + public)


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
