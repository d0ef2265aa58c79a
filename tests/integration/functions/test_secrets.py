"""Secrets are found by functions of their namespace, and told by nothing else."""

from __future__ import annotations

import asyncio
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.auth.pepper import Peppers
from fluxbase.errors import ConfigError, HandlerFailed, InvalidArgument
from fluxbase.functions.secrets import MOST, Secrets
from tests.integration.functions.conftest import deploy
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from fluxbase.app.backend import Backend
    from fluxbase.db.database import Database

    Owner = asyncpg.Connection[asyncpg.Record]

VALUE: Final = "canary-5e1f0c-\"'\\ ü\nsecond line"
TELLS: Final = """
export default async (request) =>
  Response.json((await request.json()).map((name) => Deno.env.get(name) ?? null));
"""


@pytest.fixture(autouse=True)
async def forgotten(owner: Owner) -> AsyncGenerator[None]:
    yield
    await owner.execute("DELETE FROM functions.secrets")


@pytest.fixture
def database(backend: Backend) -> Database:
    return backend.database


async def told(caller: Caller, *names: str, namespace: str = "default") -> Any:
    asked = {"name": "tells", "namespace": namespace, "body": list(names)}
    return (await caller.call("invoke_function", **asked))["body"]


def peppers(*versions: str) -> Peppers:
    ring = {version: f"{version} of a test, of 32 bytes or more".encode() for version in versions}
    return Peppers(MappingProxyType(ring), versions[0])


async def test_functions_find_those_of_their_namespace_before_those_of_all(
    admin: Caller, one: Caller
) -> None:
    for namespace in ("default", "billing"):
        await deploy(admin, "tells", TELLS, namespace=namespace)
    await admin.call("set_secret", name="OWN", value=VALUE)
    await admin.call("set_secret", name="BOTH", value="of all", namespace="*")
    await admin.call("set_secret", name="BOTH", value="of billing", namespace="billing")
    await admin.call("set_secret", name="ALL", value="every", namespace="*")
    assert await told(one, "OWN", "BOTH", "ALL", "NONE") == [VALUE, "of all", "every", None]
    billing = await told(one, "OWN", "BOTH", "ALL", namespace="billing")
    assert billing == [None, "of billing", "every"]


async def test_the_next_call_finds_what_was_changed(admin: Caller, one: Caller) -> None:
    await deploy(admin, "tells", TELLS)
    assert (await admin.call("set_secret", name="KEY", value="first"))["replaced"] is False
    assert await told(one, "KEY") == ["first"]
    assert (await admin.call("set_secret", name="KEY", value="second"))["replaced"] is True
    assert await told(one, "KEY") == ["second"]
    await admin.call("delete_secret", name="KEY")
    assert await told(one, "KEY") == [None]
    with pytest.raises(Refused) as caught:
        await admin.call("delete_secret", name="KEY")
    assert caught.value.code == "FLX208"


async def test_nothing_tells_what_it_says(
    admin: Caller, owner: Owner, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answers = [
        await admin.call("set_secret", name="KEY", value=VALUE),
        await admin.call("set_secret", name="KEY", value="another value"),
        await admin.call("set_secret", name="KEY", value=VALUE),
        await admin.call("list_secrets"),
        await admin.call("list_secrets", namespace="default"),
    ]
    for wrong in ({"value": VALUE + "\0"}, {"value": VALUE, "name": "deno"}, {"value": [VALUE]}):
        with pytest.raises(Refused) as caught:
            await admin.call("set_secret", **{"name": "KEY", **wrong})
        answers.append(caught.value.answer)
    stored = await owner.fetch("SELECT s::text FROM functions.secrets s")
    audit = await owner.fetch("SELECT a::text FROM platform.audit a WHERE action LIKE '%secret%'")
    everything = repr([answers, [*map(tuple, stored)], [*map(tuple, audit)], caplog.text])
    assert "canary" not in everything
    assert VALUE.encode().hex() not in everything
    assert len(audit) >= 5
    macs = await owner.fetchval(
        "SELECT count(DISTINCT arguments_mac) FROM (SELECT arguments_mac FROM platform.audit "
        "WHERE action = 'set_secret' AND outcome = 'ok' ORDER BY id DESC LIMIT 3) last"
    )
    assert macs == 1, "what is recorded depends on the value"
    opened = await Secrets(backend.database, backend.peppers).of("default")
    assert opened["KEY"] == VALUE
    assert repr(opened) == "***"


async def test_a_row_that_was_copied_to_another_name_does_not_open(
    admin: Caller, one: Caller, owner: Owner, database: Database, backend: Backend
) -> None:
    await deploy(admin, "tells", TELLS)
    await admin.call("set_secret", name="KEY", value=VALUE, namespace="billing")
    for change in ("namespace = 'default'", "name = 'OTHER'", "sealed = sealed || '\\x00'"):
        await owner.execute(f"UPDATE functions.secrets SET {change}")
        with pytest.raises(HandlerFailed):
            await Secrets(database, backend.peppers).of("default")
    backend.functions.hear()
    with pytest.raises(Refused) as caught:
        await told(one, "OTHER")
    assert caught.value.code == "FLX801"
    assert "OTHER" not in caught.value.message


async def test_the_same_value_is_sealed_otherwise_each_time(admin: Caller, owner: Owner) -> None:
    seen: set[bytes] = set()
    for _ in range(3):
        await admin.call("set_secret", name="KEY", value=VALUE)
        row = await owner.fetchrow("SELECT nonce, sealed FROM functions.secrets")
        assert row is not None
        seen |= {row["nonce"], row["sealed"]}
    assert len(seen) == 6


async def test_a_new_pepper_takes_over_and_the_old_one_can_go(database: Database) -> None:
    old, both, new = peppers("v1"), peppers("v2", "v1"), peppers("v2")
    await Secrets(database, old).put("default", {"A": "a", "B": "b"}, "a test")
    secrets = Secrets(database, both)
    assert await secrets.of("default") == {"A": "a", "B": "b"}
    await secrets.put("default", {"B": "c"}, "a test")
    with pytest.raises(HandlerFailed):
        await Secrets(database, new).of("default")
    assert [await secrets.rotate(), await secrets.rotate()] == [1, 0]
    assert await Secrets(database, new).of("default") == {"A": "a", "B": "c"}
    with pytest.raises(HandlerFailed):
        await Secrets(database, old).of("default")


async def test_a_pepper_that_got_another_name_still_opens(database: Database) -> None:
    first = peppers("v1")
    await Secrets(database, first).put("default", {"A": "a"}, "a test")
    renamed = Peppers(MappingProxyType({"now": os.urandom(32), "then": first.ring["v1"]}), "now")
    assert await Secrets(database, renamed).of("default") == {"A": "a"}


async def test_one_that_is_lost_stops_the_rotation_and_nothing_is_changed(
    database: Database, owner: Owner
) -> None:
    await Secrets(database, peppers("lost")).put("default", {"Z": "z"}, "a test")
    await Secrets(database, peppers("v1")).put("default", {"A": "a"}, "a test")
    with pytest.raises(ConfigError):
        await Secrets(database, peppers("v2", "v1")).rotate()
    rows = await owner.fetch("SELECT pepper FROM functions.secrets ORDER BY name")
    assert [row["pepper"] for row in rows] == ["v1", "lost"]


async def test_what_another_process_set_is_found_as_soon_as_that_is_heard(
    admin: Caller, one: Caller, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxbase.functions.secrets._LIVE", 1e9)
    await deploy(admin, "tells", TELLS)
    await admin.call("set_secret", name="KEY", value="first")
    assert await told(one, "KEY") == ["first"]
    await Secrets(backend.database, backend.peppers).put("default", {"KEY": "second"}, "a test")
    async with asyncio.timeout(20):
        while await told(one, "KEY") != ["second"]:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "value", "namespace"),
    [
        ("lower", "x", "default"),
        ("1A", "x", "default"),
        ("A" * 64, "x", "default"),
        ("A\n", "x", "default"),
        ("FLUXBASE_URL", "x", "default"),
        ("DENO_DIR", "x", "default"),
        ("A", "", "default"),
        ("A", "x\0", "default"),
        ("A", "ü" * 32_769, "default"),
        ("A", "x", "Big"),
        ("A", "x", "**"),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_not_repeated(
    admin: Caller, database: Database, name: str, value: str, namespace: str
) -> None:
    secrets = Secrets(database, peppers("v1"))
    with pytest.raises(InvalidArgument) as caught:
        await secrets.put(namespace, {"GOOD": "x", name: value}, "a test")
    assert name not in caught.value.message or len(name) == 1
    assert await secrets.list() == []
    with pytest.raises(Refused) as refused:
        await admin.call("set_secret", name=name, value=value, namespace=namespace)
    assert refused.value.code == "FLX101"


async def test_a_namespace_has_no_more_than_it_may(admin: Caller, database: Database) -> None:
    secrets = Secrets(database, peppers("v1"))
    await secrets.put("default", {f"S{n}": "x" * 100 for n in range(MOST)}, "a test")
    with pytest.raises(InvalidArgument, match="at most"):
        await secrets.put("default", {"ONE_MORE": "x"}, "a test")
    assert await secrets.put("default", {"S1": "y"}, "a test") == 1
    await secrets.put("other", {"ONE_MORE": "x"}, "a test")
    assert len(await secrets.list("default")) == MOST


async def test_service_role_reads_no_row_of_them(admin: Caller, owner: Owner) -> None:
    for role in ("service_role", "authenticated", "anon"):
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            may = "SELECT has_table_privilege($1, 'functions.secrets', $2)"
            assert await owner.fetchval(may, role, right) is False
