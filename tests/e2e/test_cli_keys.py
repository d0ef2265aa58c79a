"""Keys at the command line: with and without a server, and what a server makes of them."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, Running, place, wait

if TYPE_CHECKING:
    from collections.abc import Generator

SEED_LINE = r"""fluxbase clientkeys create --name "AI Assistant" \
  --scopes "read:tables,write:tables,execute:functions"
"""
KEY = re.compile(r"fbk_[a-z0-9]{8}_\w{32}_\w{6}")


@pytest.fixture(scope="module")
def here() -> Generator[Place]:
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def server(here: Place) -> Generator[Running]:
    with here.serving() as running:
        yield running


def create(here: Place, *words: str, scopes: str = "read:tables") -> dict[str, str]:
    done = here.run("clientkeys", "create", "--name", "k", "--scopes", scopes, "-o", "json", *words)
    assert done.code == 0, done.err
    return done.json


def test_the_line_of_the_manual_makes_a_key_on_an_empty_machine(here: Place) -> None:
    done = here.bash(SEED_LINE)
    assert done.code == 0
    assert KEY.search(done.out)
    assert "AI Assistant" in done.out
    assert "execute:functions,read:tables,write:tables" in done.out
    assert "expires  20" in done.out
    assert "shown this once" in done.err
    assert not here.postgres_runs()


def test_commands_at_the_same_time_all_succeed(here: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(create, here) for _ in range(4)]
        made = {future.result()["id"] for future in started}
    assert len(made) == 4


def test_a_key_made_without_a_server_works_when_one_comes(here: Place) -> None:
    key = create(here)
    with here.serving() as running:
        assert running.status(key["key"]) == 200


def test_a_key_made_beside_a_server_works_at_once(here: Place, server: Running) -> None:
    assert server.status(create(here)["key"]) == 200


def test_a_revoked_key_is_dead_within_five_seconds(here: Place, server: Running) -> None:
    key = create(here)
    assert server.status(key["key"]) == 200
    began = time.monotonic()
    assert here.run("clientkeys", "revoke", key["id"]).code == 0
    wait(lambda: server.status(key["key"]) == 401, "the end of the key", seconds=5)
    assert time.monotonic() - began < 5


def test_a_rotated_key_has_both_secrets_while_grace_lasts(here: Place, server: Running) -> None:
    key = create(here)
    fresh = here.run("clientkeys", "rotate", key["id"], "--grace", "1h", "-o", "json").json
    assert fresh["id"] == key["id"]
    assert fresh["key"] != key["key"]
    assert server.status(fresh["key"]) == server.status(key["key"]) == 200
    last = here.run("clientkeys", "rotate", key["id"], "-o", "json").json
    wait(lambda: server.status(key["key"]) == 401, "the end of the old secret", seconds=5)
    assert server.status(last["key"]) == 200


def test_an_expired_key_is_refused(here: Place, server: Running) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    key = create(here, "--expires", soon.isoformat())
    wait(lambda: datetime.now(UTC) > soon, "the expiry")
    assert server.status(key["key"]) == 401
    assert here.run("clientkeys", "get", key["id"], "-o", "json").json["status"] == "expired"


def test_a_changed_key_shows_its_changes(here: Place, server: Running) -> None:
    key = create(here, "--claims", '{"org": 7}', "--allow-tools", "query_table", "--read-only")
    changed = here.run(
        *("clientkeys", "update", key["id"], "--name", "other", "--rate-limit", "7"),
        *("--allow-tools", "", "--no-read-only", "--expires", "never", "-o", "json"),
    ).json
    wanted: dict[str, object] = {
        "name": "other",
        "rate_limit": 7,
        "allowed_tools": [],
        "read_only": False,
    }
    assert {**changed, **wanted, "expires_at": None} == changed
    assert changed["claims"] == {"org": 7}


def test_a_list_shows_names_and_states_but_no_secret(here: Place) -> None:
    key = create(here)
    done = here.run("clientkeys", "list")
    assert done.out.splitlines()[0].split() == [
        *("id", "name", "status", "scopes", "role", "expires", "last", "used"),
    ]
    assert key["id"] in done.out
    assert not KEY.search(done.out)


def test_a_service_key_has_every_scope_unless_said_otherwise(here: Place, server: Running) -> None:
    key = here.run("servicekeys", "create", "--name", "s", "-o", "json").json
    assert key["scopes"] == ["*"]
    assert server.call(key["key"], "users", header="X-Service-Key").status_code == 200
    less = here.run("servicekeys", "create", "--name", "t", "--scopes", "read:tables", "-o", "json")
    assert less.json["scopes"] == ["read:tables"]


def test_delete_needs_a_yes_where_nobody_can_be_asked(here: Place) -> None:
    key = create(here)
    refused = here.run("clientkeys", "delete", key["id"])
    assert (refused.code, "--yes is needed" in refused.err) == (2, True)
    assert here.run("clientkeys", "delete", key["id"], "--yes").code == 0
    assert here.run("clientkeys", "get", key["id"]).code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scopes", "read:tabels"), "unknown scope 'read:tabels'; did you mean 'read:tables'?"),
        (("--scopes", "*", "--allow-tools", "query_tabel"), "did you mean 'query_table'?"),
        (("--scopes", "*", "--role", "nosuch"), "the role does not exist"),
        (("--scopes", "*", "--role", "service_role"), "would bypass row-level security"),
        (("--scopes", "*", "--user-id", "5"), "a UUID is expected"),
        (("--scopes", "*", "--allow-cidrs", "10.0.0.1/8"), "networks such as"),
        (("--scopes", "*", "--expires", "2020-01-01T00:00:00Z"), "already past"),
        (("--scopes", "*", "--claims", "@nosuch"), "the file cannot be read"),
    ],
)
def test_a_wrong_value_is_refused_by_name(here: Place, words: tuple[str, ...], said: str) -> None:
    done = here.run("clientkeys", "create", "--name", "x", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.startswith("error: ")
    assert done.out == ""
