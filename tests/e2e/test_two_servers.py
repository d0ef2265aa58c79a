"""Two servers on one database: one limit, one set of keys, and one of them may go."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import CONFIG, Place, Running, place, wait
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Generator

LIMIT = 20


@pytest.fixture
def here() -> Generator[Place]:
    with place() as made, redis_server() as (_, address):
        limited = CONFIG.replace("enabled: true", f"enabled: true\n  rate_limit_per_min: {LIMIT}")
        made.configure(f"{limited}limits:\n  storage: {address}\n")
        yield made


@pytest.fixture
def servers(here: Place) -> Generator[tuple[Running, Running]]:
    with here.serving("--demo", name="one") as one, here.serving(name="two") as two:
        assert one.url != two.url
        yield one, two


def test_a_rate_limit_holds_for_both_together(
    here: Place, servers: tuple[Running, Running]
) -> None:
    done = here.run("clientkeys", "create", "--name", "x", "--scopes", "read:tables", "-o", "json")
    key = done.json["key"]
    statuses = [servers[n % 2].status(key) for n in range(LIMIT + 10)]
    assert statuses.count(200) == LIMIT
    assert statuses[-10:] == [429] * 10


def test_a_key_revoked_beside_one_is_dead_on_both(
    here: Place, servers: tuple[Running, Running]
) -> None:
    done = here.run("clientkeys", "create", "--name", "x", "--scopes", "read:tables", "-o", "json")
    key = done.json["key"]
    assert [server.status(key) for server in servers] == [200, 200]
    assert here.run("clientkeys", "revoke", "x").code == 0
    revoked = time.monotonic()
    for server in servers:
        wait(lambda server=server: server.status(key) == 401, "the key's end", 5)
    assert time.monotonic() - revoked < 5


def test_the_second_takes_the_database_over_when_the_first_is_killed(
    here: Place, servers: tuple[Running, Running]
) -> None:
    one, two = servers
    key = json.loads((here.folder / ".fluxbase" / "demo-keys.json").read_text())["service"]

    def answers() -> bool:
        answer = two.call(key, "todos", header="X-Service-Key")
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status_code == 200

    assert answers()
    one.process.kill()
    one.process.wait(10)
    wait(lambda: not here.postgres_runs() or answers(), "the change of hands")
    wait(answers, "the second server's own Postgres")
    assert two.stop() == 0
