"""The login in a real browser: from the 401 of an official client to rows of the user."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.browser import browser
from tests.conformance.suite import TOOLS
from tests.e2e.cli_stand import CONFIG, Place, place, wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page

pytestmark = pytest.mark.slow

EMAIL: Final = "you@example.com"
PASSWORD: Final = "a password of the tests"
AXE: Final = TOOLS / "clients" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
NODE: Final = TOOLS / "node" / "bin" / "node"
SUITE: Final = TOOLS / "clients/conformance-0.2/node_modules/@modelcontextprotocol/conformance"
# What an assistant asks for, as a query; nobody waits for its answer.
REQUEST: Final = {
    "response_type": "code",
    "scope": "read:tables write:tables read:schema",
    "code_challenge": "A" * 43,
    "code_challenge_method": "S256",
    "state": "s",
}


@dataclass(frozen=True)
class Login:
    """A server with the login, and the place of its files."""

    here: Place
    issuer: str


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def login() -> Generator[Login]:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    with place() as here:
        text = CONFIG.replace("port: 0", f"port: {port}")
        here.configure(f"{text}auth:\n  oauth:\n    enabled: true\n    issuer: {issuer}\n")
        with here.serving("--demo") as running:
            wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
            made = here.bash(
                f"echo '{PASSWORD}' | fluxbase users create --email {EMAIL} --admin"
                " --password-stdin -o json"
            )
            assert made.code == 0, made.err
            assert made.json["is_admin"] is True
            keys = json.loads((here.folder / ".fluxbase" / "demo-keys.json").read_text())
            # The demo's todos belong to accounts of its own table.
            account = {"id": made.json["id"], "email": EMAIL, "name": "You"}
            added = httpx2.post(
                f"{issuer}/mcp/tools/insert_record",
                json={"table": "users", "data": account},
                headers={"X-Service-Key": keys["service"]},
            )
            assert added.status_code == 200, added.text
            yield Login(here, issuer)


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncGenerator[BrowserContext]:
    async with browser(folder) as started:
        context = await started.new_context(**options)
        context.set_default_timeout(15_000)
        yield context


class Kept:
    """What a client keeps between its steps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def loopback() -> AsyncGenerator[tuple[str, asyncio.Queue[dict[str, str]]]]:
    """Listen for the browser that comes back, as a program on a desk does."""
    came: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
        if line.startswith("/callback"):
            came.put_nowait(dict(parse_qsl(urlsplit(line).query)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/callback", came


async def log_in(page: Page) -> None:
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()


async def registered(login: Login, redirect_uri: str) -> str:
    metadata = {
        "client_name": "Assistant",
        "redirect_uris": [redirect_uri],
        "token_endpoint_auth_method": "none",
    }
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{login.issuer}/oauth/register", json=metadata)
    return answer.json()["client_id"]


async def asked(login: Login) -> str:
    """Return an address that an assistant sends a person to."""
    uri = "http://127.0.0.1:1/callback"
    given = {**REQUEST, "client_id": await registered(login, uri), "redirect_uri": uri}
    return f"{login.issuer}/oauth/authorize?{urlencode(given)}"


async def test_an_official_client_gets_from_a_401_to_rows_of_its_user(
    login: Login, tmp_path: Path
) -> None:
    kept = Kept()
    async with opened(tmp_path) as context, loopback() as (callback, came):
        page = await context.new_page()

        async def on_redirect(url: str) -> None:
            await page.goto(url)
            await log_in(page)
            await page.get_by_role("button", name="Allow").click()

        async def on_callback() -> Any:
            from mcp.client.auth import AuthorizationCodeResult

            given = await asyncio.wait_for(came.get(), 20)
            return AuthorizationCodeResult(
                code=given["code"], state=given["state"], iss=given["iss"]
            )

        provider = OAuthClientProvider(
            server_url=f"{login.issuer}/mcp",
            client_metadata=OAuthClientMetadata.model_validate(
                {"client_name": "Assistant", "redirect_uris": [callback]}
            ),
            storage=kept,
            redirect_handler=on_redirect,
            callback_handler=on_callback,
        )
        async with (
            httpx2.AsyncClient(auth=provider, timeout=30) as http,
            Client(streamable_http_client(f"{login.issuer}/mcp", http_client=http)) as client,
        ):
            row = {"title": "written by an assistant"}
            made = await client.call_tool("insert_record", {"table": "todos", "data": row})
            assert not made.is_error, made.content
            found: Any = await client.call_tool("query_table", {"table": "todos"})
            rows = found.structured_content["rows"]
            assert [entry["title"] for entry in rows] == ["written by an assistant"]
        await page.goto(f"{login.issuer}/account")
        assert await page.get_by_role("heading", name="Assistant", exact=True).count() == 1
        await page.get_by_role("button", name="Disconnect Assistant").click()
        await page.get_by_text("It is disconnected.").wait_for()
    assert kept.tokens is not None
    headers = {"Authorization": f"Bearer {kept.tokens.access_token}"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    def refused() -> bool:
        answer = httpx2.post(f"{login.issuer}/mcp", json=message, headers=headers)
        return answer.status_code == 401

    await asyncio.to_thread(wait, refused, "the end of the token", 5)


async def test_the_pages_work_by_keyboard_alone(login: Login, tmp_path: Path) -> None:
    async with opened(tmp_path, java_script_enabled=False) as context, loopback() as (uri, came):
        page = await context.new_page()
        given = {**REQUEST, "client_id": await registered(login, uri), "redirect_uri": uri}
        await page.goto(f"{login.issuer}/oauth/authorize?{urlencode(given)}")
        await page.locator("#email:focus").wait_for()  # the first field has the focus
        await page.keyboard.type(EMAIL)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Allow Assistant to use your data?").wait_for()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")  # takes the first permission back
        for _ in range(4):  # two more permissions, the link, the button
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        told = await asyncio.wait_for(came.get(), 20)
    assert told["code"]
    assert told["state"] == "s"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"color_scheme": "dark"},
        {"viewport": {"width": 320, "height": 640}},
    ],
    ids=["light", "dark", "narrow"],
)
async def test_the_pages_can_be_read_by_everybody(
    login: Login, tmp_path: Path, options: dict[str, Any]
) -> None:
    async with opened(tmp_path, **options) as context:
        page = await context.new_page()
        await page.goto(await asked(login))
        await look(page, "login", options)
        await page.get_by_label("E-mail").fill(EMAIL)
        await page.get_by_label("Password").fill("a wrong password")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("alert").wait_for()
        await look(page, "refused", options)
        await log_in(page)
        await page.get_by_role("group", name="It asks for permission to").wait_for()
        await look(page, "consent", options)
        await page.goto(f"{login.issuer}/account")
        await look(page, "account", options)
        await page.goto(f"{login.issuer}/oauth/authorize")
        await look(page, "fault", options)


async def look(page: Page, name: str, options: dict[str, Any]) -> None:
    """Let the checker of accessibility look at a page, and see that nothing sticks out of it."""
    await page.evaluate(AXE.read_text("utf-8"))
    found: Any = await page.evaluate("() => axe.run()")
    assert [violation["id"] for violation in found["violations"]] == [], json.dumps(
        found["violations"], indent=1
    )
    wide = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert await page.evaluate(wide), name
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        kind = "-".join(options) or "light"
        await page.screenshot(path=f"{folder}/{name}-{kind}.png", full_page=True)


async def test_the_official_suite_for_authorization_servers_passes(
    login: Login, tmp_path: Path
) -> None:
    port = free_port()
    client_id = await registered(login, f"http://127.0.0.1:{port}/callback")
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(SUITE / "dist" / "index.js"),
        "authorization",
        *("--url", login.issuer, "--client-id", client_id),
        *("--resource", f"{login.issuer}/mcp", "-p", str(port), "-o", str(tmp_path / "found")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said: list[str] = []
    async with opened(tmp_path) as context, asyncio.timeout(60):
        async for raw in process.stdout:
            line = raw.decode().strip()
            said.append(line)
            if line.startswith(f"{login.issuer}/oauth/authorize?"):
                page = await context.new_page()
                await page.goto(line)
                await log_in(page)
                await page.get_by_role("button", name="Allow").click()
        await process.wait()
    checks = [
        check
        for file in (tmp_path / "found").rglob("checks.json")
        for check in json.loads(file.read_text())
    ]
    assert "authorization-code-grant" in {check["id"] for check in checks}, said
    assert len({check["id"] for check in checks}) >= 3
    failed = [c for c in checks if c["status"] not in ("SUCCESS", "INFO")]
    assert not failed, (failed, said)
