"""The measuring command: its numbers add up, and it says what stands in the way of measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.e2e.process import DEFAULTS, Demo, demo

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.e2e.cli_stand import Done, Place


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with demo(DEFAULTS) as running:
        yield running


def bench(server: Demo, *words: str, key: str = "", url: str | None = "") -> Done:
    key = key or server.keys["user1"]
    there = ("--url", url or server.endpoint) if url is not None else ()
    words = ("--key", key, "--table", "todos", "--seconds", "1", *there, *words)
    return server.place.run("bench", *words)


def calls_counted(server: Demo) -> float:
    lines = httpx2.get(f"{server.running.url}/metrics").text.splitlines()
    name = "fluxbase_calls_total{"
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name) and "query_table" in line
    )


def check_sums(numbers: Any) -> None:
    assert numbers["calls"] > 0
    assert numbers["calls_per_second"] == pytest.approx(
        numbers["calls"] / numbers["seconds"], rel=0.01
    )
    spread = numbers["ms"]
    assert 0 < spread["p50"] <= spread["p95"] <= spread["p99"]
    assert numbers["bytes_per_answer"] > 100


def test_the_numbers_of_a_running_server_add_up(server: Demo) -> None:
    before = calls_counted(server)
    done = bench(server, "--connections", "4", "--limit", "3", "-o", "json")
    assert done.code == 0, done.err
    numbers = done.json
    check_sums(numbers)
    assert numbers["errors"] == {}
    assert numbers["rows_per_answer"] == 3
    assert numbers["database_ms"] is None
    # Real calls: the server counted each of them, and the one that was tried first.
    assert calls_counted(server) - before == numbers["calls"] + 1


def test_without_an_address_it_serves_itself_and_tells_the_databases_part(server: Demo) -> None:
    done = bench(server, "--connections", "2", "-o", "json", url=None)
    assert done.code == 0, done.err
    numbers = done.json
    check_sums(numbers)
    assert numbers["workers"] == 1
    assert not numbers["url"].startswith(server.running.url)
    assert numbers["rows_per_answer"] == 12
    assert 0 < numbers["database_ms"]["p50"] <= numbers["database_ms"]["p99"]


def test_a_filter_and_a_selection_are_passed_on(server: Demo) -> None:
    words = ("--select", "id", "--filter", '{"id": 1}', "--connections", "1", "-o", "json")
    numbers = bench(server, *words).json
    assert numbers["rows_per_answer"] <= 1


def test_people_read_a_table_of_it(server: Demo) -> None:
    done = bench(server, "--connections", "2")
    assert done.code == 0, done.err
    found = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert found["endpoint"] == server.endpoint
    assert found["answer"].startswith("todos: 12 rows, ")
    assert found["errors"] == "none"
    assert "p50" in found["call"]


def test_a_keys_own_limit_ends_it_and_is_explained(server: Demo) -> None:
    key = limited(server.place)
    done = bench(server, "--seconds", "30", "-o", "json", key=key)
    assert done.code == 0, done.err
    assert done.json["calls"] == 20 - 1  # the first one was tried before
    assert done.json["limited"] is True
    assert done.json["seconds"] < 20
    assert set(done.json["errors"]) == {"FLX501"}
    assert "the key may make 20 calls a minute" in done.err
    assert "--rate-limit" in done.err
    again = bench(server, key=key)
    assert again.code == 1
    assert "FLX501" in again.err
    assert "--rate-limit" in again.err


def limited(here: Place) -> str:
    words = ("--name", "slow", "--scopes", "read:tables", "--rate-limit", "20", "-o", "json")
    return here.run("clientkeys", "create", *words).json["key"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--table", "nothing_such"), 1, "FLX201"),
        (("--select", "nothing_such"), 1, "FLX202"),
        (("--filter", '{"id": "nearly.1"}'), 2, "FLX1"),
        (("--filter", "{"), 2, "--filter: a JSON object is expected"),
        (("--key", "fbk_abcdefgh_" + "0" * 32 + "_000000"), 1, "FLX301"),
        (("--key", "line\nbreak: x"), 2, "--key: this is not a key"),
        (("--url", "ftp://127.0.0.1/mcp"), 2, "--url: this is not an address"),
        (("--url", "http://127.0.0.1:1/mcp"), 1, "is the server running there?"),
        (("--connections", "0"), 2, "--connections"),
    ],
)
def test_what_cannot_be_measured_is_refused_clearly(
    server: Demo, words: tuple[str, ...], code: int, said: str
) -> None:
    done = bench(server, *words)
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("error: ") or "Usage" in done.err
    assert said in done.err


def test_an_address_that_is_no_endpoint_is_said_to_be_none(server: Demo) -> None:
    done = bench(server, url=f"{server.running.url}/livez")
    assert done.code == 1
    assert done.err.startswith("error: ")


def test_a_key_need_not_stand_on_the_command_line(server: Demo) -> None:
    line = f"fluxbase bench --key - --table todos --seconds 0.3 --url {server.endpoint} -o json"
    done = server.place.bash(f"echo {server.keys['user1']} | {line}")
    assert done.code == 0, done.err
    assert done.json["calls"] > 0
