"""Makes the schema of the grammar in a database, and puts a real PostgREST on it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import secrets
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import asyncpg
import httpx2

from fluxbase.db.dsn import with_login
from tests.bench.processes import free_port
from tests.grammar.cases import HERE, Answer, Case, exact
from tests.programs import ROOT
from tests.world import USER1, USER2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PROGRAM: Final = ROOT / ".tools" / "postgrest" / "postgrest"
USERS: Final = {"user1": USER1, "user2": USER2}
_LOGIN: Final = "grammar_authenticator"
_START: Final = 30.0
# What a browser leaves as it is; the rest, such as a blank, is sent as its bytes in hexadecimal.
_PLAIN: Final = "/?&=%+:!()*,.'$@;~[]-_"


@asynccontextmanager
async def schema(url: str) -> AsyncGenerator[None]:
    """Make the schema and its rows, and take them away at the end."""
    conn = await asyncpg.connect(url)
    try:
        await conn.execute((HERE / "schema.sql").read_text("utf-8"))
        await conn.execute((HERE / "rows.sql").read_text("utf-8"))
        await conn.execute("RESET search_path")
        try:
            yield
        finally:
            await conn.execute("SET client_min_messages = error; DROP SCHEMA grammar CASCADE")
    finally:
        await conn.close()


@dataclass(frozen=True, slots=True)
class Oracle:
    """A PostgREST that is up."""

    client: httpx2.AsyncClient
    secret: str

    async def ask(self, case: Case, tenant: str) -> Answer:
        """Return what PostgREST answers a tenant."""
        answer, body = await self.raw(case, tenant)
        if answer.status_code >= 300:  # what is ambiguous is answered with 300
            return Answer(None, refusal=body)
        total = answer.headers["content-range"].rpartition("/")[2] if case.count else None
        return Answer(exact(body), int(total) if total else None)

    async def raw(self, case: Case, tenant: str) -> tuple[httpx2.Response, str]:
        """Return the response and its text."""
        claims = {"role": "authenticated", "sub": USERS[tenant]}
        headers = {"Authorization": f"Bearer {_token(claims, self.secret)}"}
        if case.count:
            headers["Prefer"] = "count=exact"
        answer = await self.client.get(quote(case.ask, safe=_PLAIN), headers=headers)
        return answer, answer.text


@asynccontextmanager
async def postgrest(url: str, log: Path) -> AsyncGenerator[Oracle]:
    """Run PostgREST on the schema, with a login of its own, for as long as the block lasts."""
    if not PROGRAM.exists():
        raise FileNotFoundError("PostgREST is not there: run scripts/postgrest.sh")
    secret = secrets.token_hex(32)
    async with _login(url) as login:
        port = free_port()
        settings = {
            "PGRST_DB_URI": login,
            "PGRST_DB_SCHEMAS": "grammar",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_AGGREGATES_ENABLED": "true",
            "PGRST_DB_CHANNEL_ENABLED": "false",
            "PGRST_DB_POOL": "4",
            "PGRST_JWT_SECRET": secret,
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(port),
        }
        process = await asyncio.to_thread(_start, settings, log)
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                oracle = Oracle(client, secret)
                await _until_up(oracle, process, log)
                yield oracle
        finally:
            await asyncio.to_thread(_end, process)


@asynccontextmanager
async def _login(url: str) -> AsyncGenerator[str]:
    """Make the login that becomes whom a token names, and yield its address."""
    password = secrets.token_hex(16)
    conn = await asyncpg.connect(url)
    try:
        database = str(await conn.fetchval("SELECT current_database()"))
        await conn.execute(f"CREATE ROLE {_LOGIN} LOGIN NOINHERIT PASSWORD '{password}'")
        await conn.execute(f'GRANT CONNECT ON DATABASE "{database}" TO {_LOGIN}')
        await conn.execute(f"GRANT anon, authenticated TO {_LOGIN}")
        # How Fluxbase has Postgres write times; it is no matter of the grammar.
        await conn.execute(f"ALTER ROLE {_LOGIN} SET timezone = 'UTC'")
        await conn.execute(f"ALTER ROLE {_LOGIN} SET intervalstyle = 'iso_8601'")
        try:
            yield with_login(url, _LOGIN, password)
        finally:
            await conn.execute(f'REVOKE ALL ON DATABASE "{database}" FROM {_LOGIN}')
            await conn.execute(f"DROP ROLE {_LOGIN}")
    finally:
        await conn.close()


def _start(settings: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [PROGRAM],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _until_up(oracle: Oracle, process: subprocess.Popen[bytes], log: Path) -> None:
    ready = Case("ready", "/currencies")
    async with asyncio.timeout(_START):
        while process.poll() is None:
            try:
                answer, _ = await oracle.raw(ready, "user1")
            except httpx2.TransportError:
                pass  # it does not listen yet
            else:
                if answer.status_code == 200:
                    return
            await asyncio.sleep(0.05)
    said = await asyncio.to_thread(log.read_text, "utf-8", "replace")
    raise RuntimeError(f"PostgREST did not come up:\n{said[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def _token(claims: dict[str, str], secret: str) -> str:
    parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_encoded(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
