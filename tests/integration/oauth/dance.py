"""An assistant and its user, who go through the whole login as browsers and clients do."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.integration.mcp.live import until

if TYPE_CHECKING:
    import httpx2

ISSUER = "http://localhost:8080"
RESOURCE = f"{ISSUER}/mcp"
PASSWORD = "a password of the tests"
CALLBACK = "http://127.0.0.1:33418/callback"
OAUTH: dict[str, Any] = {"enabled": True, "issuer": ISSUER}


def fields_of(page: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


@dataclass
class Assistant:
    """A client, with the secrets of one attempt."""

    http: httpx2.AsyncClient
    client_id: str = ""
    redirect_uri: str = CALLBACK
    secret: str | None = None
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(8))

    async def register(self, **metadata: Any) -> httpx2.Response:
        body = {
            "client_name": "Assistant",
            "redirect_uris": [self.redirect_uri],
            "token_endpoint_auth_method": "none",
            **metadata,
        }
        answer = await self.http.post("/oauth/register", json=body)
        if answer.status_code == 201:
            self.client_id = answer.json()["client_id"]
            self.secret = answer.json().get("client_secret")
        return answer

    def request(self, **changes: str | None) -> str:
        """Return the query that a browser is sent with; `None` leaves a parameter out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        given: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "read:tables write:tables",
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "resource": RESOURCE,
            **changes,
        }
        return urlencode({k: v for k, v in given.items() if v is not None})

    async def token(self, **form: str | None) -> httpx2.Response:
        sent: dict[str, str | None] = {"client_id": self.client_id, **form}
        if self.secret is not None:
            sent.setdefault("client_secret", self.secret)
        return await self.http.post(
            "/oauth/token", data={k: v for k, v in sent.items() if v is not None}
        )

    async def redeem(self, code: str, /, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            "resource": RESOURCE,
        }
        return await self.token(**{**form, **changes})

    async def refresh(self, token: str, /, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.token(**{**form, **changes})

    async def call(self, token: str, tool: str, **arguments: Any) -> httpx2.Response:
        return await self._ask(token, "tools/call", {"name": tool, "arguments": arguments})

    async def initialize(self, token: str) -> httpx2.Response:
        params: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
        return await self._ask(token, "initialize", params)

    async def ping(self, token: str, session: str) -> httpx2.Response:
        return await self._ask(token, "ping", {}, {"Mcp-Session-Id": session})

    async def _ask(
        self, token: str, method: str, params: dict[str, Any], headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.http.post("/mcp", json=body, headers=sent)


@dataclass
class Person:
    """A user in a browser, which keeps cookies and follows no redirect by itself."""

    http: httpx2.AsyncClient
    email: str
    password: str = PASSWORD

    async def log_in(self, leads: str = "/account") -> httpx2.Response:
        page = await self.http.get(f"/oauth/login?{urlencode({'next': leads})}")
        form = {**fields_of(page.text), "email": self.email, "password": self.password}
        return await self.http.post("/oauth/login", data=form)

    async def consent_page(self, query: str) -> httpx2.Response:
        """Return the page that asks, after logging in where that is needed."""
        answer = await self.http.get(f"/oauth/authorize?{query}")
        if answer.status_code == 303 and answer.headers["location"].startswith("/oauth/login"):
            await self.log_in(query_of(answer.headers["location"])["next"])
            answer = await self.http.get(f"/oauth/authorize?{query}")
        return answer

    async def decide(
        self, page: str, decision: str = "allow", scopes: list[str] | None = None
    ) -> httpx2.Response:
        shown = re.findall(r'name="scope" value="([^"]+)"', page)
        form: dict[str, Any] = {
            **fields_of(page),
            "decision": decision,
            "scope": shown if scopes is None else scopes,
        }
        return await self.http.post("/oauth/authorize", data=form)

    async def allow(self, query: str, scopes: list[str] | None = None) -> dict[str, str]:
        """Agree, and return what the assistant is sent."""
        page = await self.consent_page(query)
        assert page.status_code == 200, page.text
        answer = await self.decide(page.text, scopes=scopes)
        assert answer.status_code == 303, answer.text
        return query_of(answer.headers["location"])


async def status(assistant: Assistant, token: str, tool: str) -> int:
    return (await assistant.call(token, tool)).status_code


async def until_refused(assistant: Assistant, token: str) -> None:
    await until(lambda: status(assistant, token, "list_tables"), 401)
