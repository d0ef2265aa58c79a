"""A worker gets exactly what its parent has."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import orjson
import pytest

from fluxbase.app.backend import Prepared
from fluxbase.app.handover import (
    Orders,
    as_message,
    config_as_json,
    config_from_json,
    from_message,
)
from fluxbase.app.link import Link
from fluxbase.auth.pepper import Peppers
from fluxbase.config import Config, load
from fluxbase.db.prepare import Logins
from fluxbase.schema.lints import Finding

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.app.link import Message

SECRET = "A" * 43 + "="
FULL = f"""
mcp: {{enabled: true, session_timeout: 90s, allowed_tools: ["a*", b]}}
server: {{workers: 3, trusted_proxies: [10.0.0.0/8, "fd00::/8"], drain_timeout: 2m}}
database:
  url: postgresql://o:pw@db.example.com/app
  replica_urls: [postgresql://r1.example.com/app]
  embedded: {{bin_dir: bin, settings: {{fsync: "off"}}}}
auth:
  peppers: v2:{SECRET},v1:{SECRET}
  jwt:
    keys: [{{kid: k, alg: RS256, file: key.pem}}]
    jwks_file: jwks.json
    issuer: i
    audience: [a, b]
    role_map: {{admin: staff}}
limits: {{storage: "redis://:pw@cache.example.com/0"}}
metrics: {{allow_from: [192.0.2.0/24]}}
"""


def full(folder: Path) -> Config:
    (folder / "fluxbase.yaml").write_text(FULL)
    return load(folder / "fluxbase.yaml", env={}).config


@pytest.mark.parametrize("which", ["defaults", "full"])
def test_a_configuration_arrives_as_it_was_secrets_and_all(which: str, tmp_path: Path) -> None:
    config = full(tmp_path) if which == "full" else Config()
    sent = orjson.loads(orjson.dumps(config_as_json(config)))
    assert config_from_json(sent) == config


def test_orders_arrive_as_they_were(tmp_path: Path) -> None:
    orders = Orders(
        full(tmp_path),
        Prepared(
            Logins("postgresql://a:x@h/d", "postgresql://c:y@h/d", "postgresql://s:z@h/d"),
            Peppers.parse(f"v2:{SECRET},v1:{'B' * 43}="),
            True,
            None,
        ),
        (Finding("table_without_rls", "public.t", "text", "fix"),),
        ("127.0.0.1", 8080),
        True,
        False,
    )
    assert from_message(orjson.loads(orjson.dumps(as_message(orders)))) == orders


async def test_messages_arrive_whole_and_in_order_and_the_end_is_heard() -> None:
    ours, theirs = socket.socketpair()
    here, there = await Link.over(ours), await Link.over(theirs)
    long = "x" * 1_000_000  # more than any buffer between them

    async def hear() -> list[Message]:
        heard: list[Message] = []
        while (message := await there.receive()) is not None:
            heard.append(message)
        return heard

    hearing = asyncio.ensure_future(hear())
    here.send("one", text=long)
    here.send("two", number=2)
    await here.flush()
    here.close()
    heard = await asyncio.wait_for(hearing, 10)
    assert [message["kind"] for message in heard] == ["one", "two"]
    assert heard[0]["text"] == long
    there.close()
    there.send("three")  # to nobody: says nothing and fails nothing
