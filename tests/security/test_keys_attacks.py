"""Attacks on keys: forged, stolen, ended and overused ones, and where their secrets may show."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from fluxbase.auth import token
from fluxbase.auth.authenticate import Authenticator
from fluxbase.config import Config
from tests.world import USER1, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

    from fluxbase.app.backend import Backend

ASK = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
JSON = {"Content-Type": "application/json"}
SOON = 5.0


async def send(http: httpx2.AsyncClient, *headers: tuple[str, str], path: str = "/mcp") -> Any:
    """Send one request with just these credentials."""
    return await http.post(path, json=ASK, headers=[*JSON.items(), *headers])


async def works(http: httpx2.AsyncClient, key: str) -> bool:
    return (await send(http, ("Authorization", f"Bearer {key}"))).status_code == 200


async def ends(http: httpx2.AsyncClient, key: str, within: float) -> float:
    """Return after how many seconds a key is refused."""
    started = time.monotonic()
    async with asyncio.timeout(within):
        while await works(http, key):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    return time.monotonic() - started


def other_secret(key: str) -> str:
    """Return a well-formed key of the same id with another secret."""
    parsed = token.parse(key)
    assert parsed is not None
    return token.Token(parsed.kind, parsed.id, token.new(parsed.kind).secret).text


@pytest.fixture
async def refused_keys(
    issue: Callable[..., Any], backend: Backend, owner: Any, keys: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """A header and a credential for every reason to refuse one."""
    good, service = keys["user1"][1], keys["service"][1]
    expired = await issue(name="expired", expires_at=datetime.now(UTC) + timedelta(hours=1))
    await owner.execute("UPDATE auth.api_keys SET expires_at = now() WHERE id = $1", expired.id)
    revoked = await issue(name="revoked")
    await backend.keys.revoke("client_key", revoked.id)
    deleted = await issue(name="deleted")
    await backend.keys.delete("client_key", deleted.id)
    rotated = await issue(name="rotated")
    await backend.keys.rotate("client_key", rotated.id)
    elsewhere = await issue(name="elsewhere", allowed_cidrs=("192.0.2.0/24",))
    return {
        "no key at all": ("X-Client-Key", "hello"),
        "only its beginning": ("X-Client-Key", good[:20]),
        "one letter more": ("X-Client-Key", good + "x"),
        "in capitals": ("X-Client-Key", good.upper()),
        "a wrong checksum": ("X-Client-Key", good[:-1] + ("A" if good[-1] != "A" else "B")),
        "an unknown id": ("X-Client-Key", token.new("client_key").text),
        "a wrong secret": ("X-Client-Key", other_secret(good)),
        "a wrong secret of a service key": ("X-Service-Key", other_secret(service)),
        "the other kind's prefix": ("X-Service-Key", other_secret(good.replace("fbk_", "fbs_", 1))
                                    if token.parse(good.replace("fbk_", "fbs_", 1)) else "fbs_x"),
        "a client key as a service key": ("X-Service-Key", good),
        "a service key as a client key": ("X-Client-Key", service),
        "another scheme": ("Authorization", f"Basic {good}"),
        "no scheme": ("Authorization", good),
        "nothing after the scheme": ("Authorization", "Bearer "),
        "something like a token": ("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        "an oversized one": ("X-Client-Key", good + "a" * 20_000),
        "an oversized token": ("Authorization", "Bearer " + "a" * 9_000 + ".b.c"),
        "an expired one": ("X-Client-Key", expired.key),
        "a revoked one": ("X-Client-Key", revoked.key),
        "a deleted one": ("X-Client-Key", deleted.key),
        "the old one of a rotated key": ("X-Client-Key", rotated.key),
        "one of another network": ("X-Client-Key", elsewhere.key),
    }  # fmt: skip


async def test_every_refused_key_gets_the_same_answer(
    refused_keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient
) -> None:
    first = None
    for reason, header in refused_keys.items():
        answer = await send(http, header)
        assert answer.status_code == 401, reason
        kept = {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")}
        assert kept["www-authenticate"] == 'Bearer realm="fluxbase"'
        first = first or (answer.content, kept)
        assert (answer.content, kept) == first, reason


async def test_none_or_several_credentials_get_one_answer_whether_valid_or_not(
    keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient
) -> None:
    good, other = keys["user1"][1], keys["user2"][1]
    answers = [
        await send(http),
        await send(http, ("X-Client-Key", good), ("X-Client-Key", good)),
        await send(http, ("X-Client-Key", good), ("X-Client-Key", other)),
        await send(http, ("X-Client-Key", good), ("Authorization", f"Bearer {good}")),
        await send(http, ("X-Client-Key", "x"), ("X-Service-Key", keys["service"][1])),
        await send(http, ("Authorization", f"Bearer {good}"), ("Authorization", "Bearer x")),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    "name", ["key", "apikey", "api_key", "x-client-key", "X-Client-Key", "access_token", "token"]
)
async def test_a_key_in_the_query_string_is_no_credential(
    name: str, keys: dict[str, tuple[str, str]], http: httpx2.AsyncClient
) -> None:
    key = keys["user1"][1]
    answer = await send(http, path=f"/mcp?{name}={key}")
    assert answer.status_code == 401
    assert key not in answer.text


async def test_a_revoked_key_is_dead_at_once_where_announcements_arrive(
    issue: Callable[..., Any], backend: Backend, http: httpx2.AsyncClient
) -> None:
    key = await issue()
    assert await works(http, key.key)
    await backend.keys.revoke("client_key", key.id)
    assert await ends(http, key.key, SOON) < 1


async def test_a_revoked_key_is_dead_when_its_memory_ends_even_without_an_announcement(
    issue: Callable[..., Any], backend: Backend, owner: Any, serving: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(ValidationError):
        Config.model_validate({"auth": {"key_cache": "6s"}})  # five seconds are the promise
    key, kept = await issue(), await issue()
    async with serving(auth={"key_cache": 0.5}) as http:
        assert await works(http, key.key)
        await owner.execute("ALTER TABLE auth.api_keys DISABLE TRIGGER notify_update")
        try:
            await backend.keys.revoke("client_key", key.id)
            assert 0 <= await ends(http, key.key, SOON) < 1.5
            # Control: what is never asked again is never found out.
            assert await works(http, kept.key)
            monkeypatch.setattr(Authenticator, "_load", None)
            monkeypatch.setattr(time, "monotonic", lambda: 0.0)
            await backend.keys.revoke("client_key", kept.id)
            assert await works(http, kept.key)
        finally:
            monkeypatch.undo()
            await owner.execute("ALTER TABLE auth.api_keys ENABLE TRIGGER notify_update")


async def test_a_rotated_key_s_old_secret_lives_as_long_as_its_grace(
    issue: Callable[..., Any], backend: Backend, http: httpx2.AsyncClient
) -> None:
    old = await issue()
    assert await works(http, old.key)
    new = await backend.keys.rotate("client_key", old.id, grace=1.0)
    assert await works(http, new.key)
    assert await works(http, old.key)
    await ends(http, old.key, SOON)
    assert await works(http, new.key)
    last = await backend.keys.rotate("client_key", old.id, grace=3600)
    await backend.keys.revoke("client_key", old.id)
    for key in (new.key, last.key):  # revoking ends the graces too
        await ends(http, key, SOON)


async def test_an_expired_key_ends_by_the_clock_of_every_request(
    issue: Callable[..., Any], http: httpx2.AsyncClient
) -> None:
    key = await issue(expires_at=datetime.now(UTC) + timedelta(seconds=0.4))
    assert await works(http, key.key)
    assert await ends(http, key.key, SOON) < 1


async def test_a_key_bound_to_networks_works_from_nowhere_else(
    issue: Callable[..., Any], serving: Callable[..., Any]
) -> None:
    key = await issue(allowed_cidrs=("192.0.2.0/24", "2001:db8::/32"))
    inside = ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7")
    outside = ("192.0.3.1", "2001:db9::1", "::ffff:127.0.0.1", "testclient", "")
    for remote in (*inside, *outside):
        async with serving(remote) as http:
            assert await works(http, key.key) is (remote in inside), remote
            forged = await send(http, ("X-Client-Key", key.key), ("X-Forwarded-For", "192.0.2.7"))
            assert (forged.status_code == 200) is (remote in inside), remote


async def test_refused_keys_are_limited_by_address_and_never_stop_a_valid_one(
    keys: dict[str, tuple[str, str]], serving: Callable[..., Any]
) -> None:
    good = keys["user1"][1]
    async with serving("198.51.100.1", auth={"failed_per_min": 3}) as http:
        codes: list[int] = []
        wait = ""
        for _ in range(6):
            answer = await send(http, ("X-Client-Key", token.new("client_key").text))
            codes.append(answer.status_code)
            wait = answer.headers.get("retry-after", "")
            assert await works(http, good)
        assert codes == [401, 401, 401, 429, 429, 429]
        assert 1 <= int(wait) <= 60


async def test_a_key_is_limited_by_itself_and_by_its_own_limit(
    issue: Callable[..., Any], serving: Callable[..., Any]
) -> None:
    usual, own, other = await issue(), await issue(rate_limit=2), await issue()
    async with serving(mcp={"rate_limit_per_min": 4}) as http:
        for key, limit in ((usual, 4), (own, 2)):
            for used in range(1, limit + 1):
                answer = await send(http, ("X-Client-Key", key.key))
                assert answer.status_code == 200
                assert answer.headers["ratelimit-policy"] == f'"default";q={limit};w=60'
                assert answer.headers["ratelimit"].startswith(f'"default";r={limit - used};t=')
            answer = await send(http, ("X-Client-Key", key.key))
            assert answer.status_code == 429
            wait = int(answer.headers["retry-after"])
            assert 1 <= wait <= 60
            assert answer.headers["ratelimit"] == f'"default";r=0;t={wait}'
            assert answer.json()["error"]["data"]["code"] == "FLX501"
        # Made-up keys use up nobody's calls, and the full key does not come back by another header.
        await send(http, ("X-Client-Key", other_secret(other.key)))
        assert (
            (await send(http, ("X-Client-Key", other.key)))
            .headers["ratelimit"]
            .startswith('"default";r=3;')
        )
        assert (await send(http, ("Authorization", f"Bearer {own.key}"))).status_code == 429


class Everything(logging.Handler):
    """Keeps every log line of the process, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record) + repr(vars(record)))


@pytest.fixture
async def heard() -> AsyncGenerator[list[str]]:
    handler, root, ours = Everything(), logging.getLogger(), logging.getLogger("fluxbase")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    ours.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


async def test_no_secret_and_no_value_shows_in_logs_audit_or_answers(
    heard: list[str], issue: Callable[..., Any], backend: Backend, owner: Any,
    refused_keys: dict[str, tuple[str, str]], serving: Callable[..., Any], rows: None,
) -> None:  # fmt: skip
    value = "canaryvalue8472"
    key = await issue(user_id=USER1, scopes=("*",), claims={"private": "canaryclaim8472"})
    secrets = {key.key, key.key.split("_")[2], value, "canaryclaim8472"}
    secrets |= {text.split(" ")[-1] for _, text in refused_keys.values() if len(text) > 40}
    secrets |= {pepper.hex() for pepper in backend.peppers.ring.values()}
    logins = (backend.database.logins.client, backend.database.logins.service)
    secrets |= {url.split("://")[1].split("@")[0].split(":")[1] for url in logins}
    bodies: list[str] = []
    async with serving(audit={"reads": True}, log={"level": "debug"}) as http:
        bodies += [(await send(http, header)).text for header in refused_keys.values()]
        caller = Caller("canary", key.id, key.key, http)
        for tool, arguments in (
            ("query_table", {"table": "notes", "filter": {"title": f"eq.{value}"}}),
            ("query_table", {"table": "notes", "filter": {"rank": f"eq.{value}"}}),
            ("query_table", {"table": "notes", "filter": {"title": f"in.({value}"}}),
            ("query_table", {"table": "notes", "limit": value}),
            ("update_record", {"table": "notes", "data": {"rank": value}, "filter": {"id": 1}}),
            ("update_record", {"table": "notes", "data": {"body": value}, "filter": {"id": 1},
                               "returning": "id"}),
            ("insert_record", {"table": "notes", "data": {"title": value, "rank": 666}}),
            ("delete_record", {"table": "notes", "filter": {"id": value}}),
        ):  # fmt: skip
            params = {"name": tool, "arguments": arguments}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            bodies.append((await caller.post(body)).text)
        bodies += [(await http.get(path)).text for path in ("/metrics", "/readyz", "/mcp/health")]
    # Closing the server wrote what was left of the records.
    audit = [
        json.dumps(dict(row), default=str)
        for row in await owner.fetch("SELECT * FROM platform.audit")
    ]
    stored = [repr(dict(row)) for row in await owner.fetch("SELECT * FROM auth.api_keys")]
    assert any('"update_record"' in row for row in audit)
    for place, texts in (("a log", heard), ("the audit", audit), ("an answer", bodies)):
        found = [(s, text[:300]) for s in secrets for text in texts if s in text]
        assert not found, f"{place} shows {found[:3]}"
    keys_only = secrets - {"canaryclaim8472"}
    assert not [s for s in keys_only for text in stored if s in text]
    # Control: the net catches what is logged in the clear.
    logging.getLogger("fluxbase").info("used %s", key.key)
    assert any(key.key in line for line in heard)
