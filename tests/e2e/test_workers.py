"""Several workers are one server: one limit, one configuration, one set of numbers, one end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.e2e.cli_stand import CONFIG, Place, Running, place, wait
from tests.e2e.process import DEFAULTS, Demo, demo

if TYPE_CHECKING:
    from collections.abc import Generator

WORKERS = 2
LIMIT = 100
CONNECTIONS = 24
TWO = DEFAULTS.replace("port: 0", f"port: 0\n  workers: {WORKERS}") + (
    "auth:\n  failed_per_min: 1000000\n"
)
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def server() -> Generator[Demo]:
    with demo(TWO) as running:
        yield running


def workers(running: Running) -> list[int]:
    """Return the process ids of the workers that run."""
    parent = running.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"app.worker" in cmdline(int(pid))]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def gone(pid: int) -> bool:
    return cmdline(pid) == b""


def holder(pids: list[int], local: int) -> int:
    """Return which worker holds the server's end of a connection from the port `local`."""
    inodes = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if int((fields := line.split())[2].rpartition(":")[2], 16) == local
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(link.readlink()) in wanted:
                    return pid
            except OSError:
                continue
    raise AssertionError(local)


def checks(url: str) -> dict[str, Any]:
    return httpx2.get(f"{url}/readyz?verbose").json()["checks"]


def all_serve(url: str) -> bool:
    try:
        return checks(url)["workers"]["serving"] == WORKERS
    except httpx2.TransportError:  # a connection that a killed worker took along
        return False


def metric(url: str, name: str) -> float:
    text = httpx2.get(f"{url}/metrics").text
    found = re.findall(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)
    assert len(found) == 1, text
    return float(found[0])


def create(here: Place, name: str, *words: str) -> str:
    scopes = ("--scopes", "read:tables,read:schema")
    done = here.run("clientkeys", "create", "--name", name, *scopes, *words, "-o", "json")
    assert done.code == 0, done.err
    return done.json["key"]


def over_connections(
    server: Demo, key: str, calls: int, session: str = ""
) -> Counter[tuple[int, int]]:
    """Call over many connections at once; count the calls by worker and status."""
    pids, ready = workers(server.running), threading.Barrier(CONNECTIONS)

    def run(_number: int) -> Counter[tuple[int, int]]:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            ready.wait(30)
            local = sock.getsockname()[1]
            statuses = [post(sock, key, session) for _ in range(calls // CONNECTIONS)]
            pid = holder(pids, local)
        return Counter((pid, status) for status in statuses)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(run, range(CONNECTIONS)), Counter[tuple[int, int]]())


def post(sock: socket.socket, key: str, session: str = "") -> int:
    """Send one request on a kept connection and return the status of the answer."""
    body = json.dumps(LIST).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-Client-Key: {key}\r\nContent-Length: {len(body)}\r\n"
    )
    head += f"Mcp-Session-Id: {session}\r\n\r\n" if session else "\r\n"
    sock.sendall(head.encode() + body)
    got = b""
    while b"\r\n\r\n" not in got:
        got += _some(sock)
    head_, _, rest = got.partition(b"\r\n\r\n")
    length = int(re.findall(rb"content-length: (\d+)", head_.lower())[0])
    while len(rest) < length:
        rest += _some(sock)
    return int(head_.split()[1])


def _some(sock: socket.socket) -> bytes:
    got = sock.recv(65536)
    assert got, "the connection was closed"
    return got


def test_two_processes_serve_and_the_parent_says_so(server: Demo) -> None:
    assert len(workers(server.running)) == WORKERS
    log = server.running.err.read_text()
    assert "2 workers serve" in log
    assert log.count("listening on") == 1
    assert checks(server.running.url)["workers"] == {"ok": True, "wanted": 2, "serving": 2}


def test_a_session_is_served_by_every_worker_until_it_is_ended(server: Demo) -> None:
    key = server.keys["user1"]
    params: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers = {"X-Client-Key": key}
    opened = httpx2.post(server.endpoint, json=body, headers=headers)
    session = opened.headers["mcp-session-id"]
    seen = over_connections(server, key, 2 * CONNECTIONS, session)
    assert {status for _, status in seen} == {200}
    assert len({pid for pid, _ in seen}) == WORKERS
    ended = httpx2.delete(server.endpoint, headers={**headers, "Mcp-Session-Id": session})
    assert ended.status_code == 204
    # The other workers hear of it by NOTIFY.
    wait(
        lambda: (
            {status for _, status in over_connections(server, key, CONNECTIONS, session)} == {404}
        ),
        "every worker's word that the session is over",
    )


def test_a_limit_is_exact_over_all_workers_though_each_sees_only_a_part(server: Demo) -> None:
    key = create(server.place, "limited", "--rate-limit", str(LIMIT))
    got = over_connections(server, key, 120)
    statuses = Counter[int]()
    seen = Counter[int]()
    for (pid, status), times in got.items():
        statuses[status] += times
        seen[pid] += times
    assert statuses == {200: LIMIT, 429: 20}
    # The control: counted apart, each would have let all of its own through.
    assert len(seen) == WORKERS
    assert all(0 < times < LIMIT for times in seen.values())


def test_refused_credentials_are_counted_over_all_workers() -> None:
    with demo(TWO.replace("1000000", "30")) as own:
        got = over_connections(own, "fbk_abcdefgh_" + "0" * 32 + "_000000", 48)
        statuses = Counter[int]()
        for (_, status), times in got.items():
            statuses[status] += times
        assert statuses == {401: 30, 429: 18}
        assert len({pid for pid, _ in got}) == WORKERS


def test_a_revoked_key_is_dead_on_every_worker(server: Demo) -> None:
    key = create(server.place, "revoked")
    assert {status for _, status in over_connections(server, key, 48)} == {200}
    assert server.place.run("clientkeys", "revoke", "revoked").code == 0

    def dead_everywhere() -> bool:
        got = over_connections(server, key, CONNECTIONS)
        return {status for _, status in got} == {401} and len({pid for pid, _ in got}) == WORKERS

    wait(dead_everywhere, "the key's end", 5)


def test_metrics_are_those_of_all_workers_whoever_is_asked(server: Demo) -> None:
    url, name = server.running.url, 'fluxbase_calls_total{outcome="ok",tool="tools/list"}'
    over_connections(server, server.keys["user1"], CONNECTIONS)
    before = metric(url, name)
    got = over_connections(server, server.keys["user1"], 48)
    assert len(got) == WORKERS
    assert {metric(url, name) for _ in range(12)} == {before + 48}
    assert metric(url, 'fluxbase_pool_size{name="client"}') == WORKERS * 16
    assert metric(url, 'fluxbase_workers{name="serving"}') == WORKERS


def test_a_reload_is_for_all_workers_or_none(server: Demo) -> None:
    url, key = server.running.url, server.keys["user1"]

    def tools() -> set[int]:
        headers = {"X-Client-Key": key}
        answers = [httpx2.post(f"{url}/mcp", json=LIST, headers=headers) for _ in range(16)]
        return {len(answer.json()["result"]["tools"]) for answer in answers}

    def errors() -> set[str | None]:
        return {checks(url)["config"]["reload_error"] for _ in range(16)}

    (every,) = tools()
    server.place.configure(TWO.replace("enabled: true", "enabled: true\n  allowed_tools: [q, w"))
    server.running.process.send_signal(signal.SIGHUP)
    server.running.wait_for_log("the configuration was not reloaded")
    wait(lambda: None not in errors(), "the error on all workers")
    assert tools() == {every}

    listed = "enabled: true\n  allowed_tools: [list_tables]"
    server.place.configure(TWO.replace("enabled: true", listed))
    server.running.process.send_signal(signal.SIGHUP)
    server.running.wait_for_log("the configuration was reloaded")
    wait(lambda: tools() == {1}, "the new configuration on all workers")
    assert errors() == {None}

    # What only building it shows, and only the workers build it.
    broken = TWO.replace("enabled: true", "enabled: true\n  allowed_tools: [nothing]")
    server.place.configure(broken)
    server.running.process.send_signal(signal.SIGHUP)
    wait(lambda: all("'nothing'" in (e or "") for e in errors()), "the error on all workers")
    assert tools() == {1}

    server.place.configure(TWO)
    os.kill(workers(server.running)[0], signal.SIGHUP)  # at a worker: for all all the same
    wait(lambda: tools() == {every}, "the old configuration")


def test_a_worker_that_hangs_keeps_a_new_configuration_from_all(server: Demo) -> None:
    url, headers = server.running.url, {"X-Client-Key": server.keys["user1"]}

    def tools() -> int:
        answer = httpx2.post(f"{url}/mcp", json=LIST, headers=headers, timeout=5)
        return len(answer.json()["result"]["tools"])

    every = tools()
    hung = workers(server.running)[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        listed = "enabled: true\n  allowed_tools: [list_tables]"
        server.place.configure(TWO.replace("enabled: true", listed))
        server.running.process.send_signal(signal.SIGHUP)
        server.running.wait_for_log("not reloaded: a worker did not answer in time")
    finally:
        os.kill(hung, signal.SIGCONT)
    # It builds the configuration now, and hears that it was given up.
    assert {tools() for _ in range(24)} == {every}
    server.running.process.send_signal(signal.SIGHUP)
    wait(lambda: {tools() for _ in range(12)} == {1}, "the new configuration on all workers")
    server.place.configure(TWO)
    server.running.process.send_signal(signal.SIGHUP)
    wait(lambda: {tools() for _ in range(12)} == {every}, "the old configuration")


def test_a_killed_worker_is_replaced_and_nothing_counted_is_lost(server: Demo) -> None:
    url = server.running.url
    before = workers(server.running)
    name = 'fluxbase_calls_total{outcome="ok",tool="tools/list"}'
    over_connections(server, server.keys["user1"], 48)
    counted = metric(url, name)
    assert counted >= 48
    os.kill(before[0], signal.SIGKILL)
    wait(lambda: "another one starts" in server.running.err.read_text(), "the parent to see it")
    assert f"(process {before[0]}) was ended by SIGKILL" in server.running.err.read_text()
    # The other one goes on: whoever connects now is served at once.
    assert server.running.status(server.keys["user1"]) == 200
    wait(lambda: all_serve(url), "the new worker")
    after = workers(server.running)
    assert len(after) == WORKERS
    assert before[0] not in after
    assert before[1] in after
    got = over_connections(server, server.keys["user1"], CONNECTIONS)
    assert {pid for pid, _ in got} == set(after)
    assert metric(url, name) >= counted + CONNECTIONS
    assert metric(url, "fluxbase_worker_restarts_total") == 1


def test_a_limit_outlives_the_worker_that_counted(server: Demo) -> None:
    url = server.running.url
    key = create(server.place, "outliving", "--rate-limit", "10")
    assert [server.running.status(key) for _ in range(11)] == [200] * 10 + [429]
    before = workers(server.running)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not set(before) & set(workers(server.running)) and all_serve(url), "new workers")
    assert [server.running.status(key) for _ in range(4)] == [429] * 4


def test_a_stop_lets_running_calls_finish_on_every_worker() -> None:
    with place() as here:
        here.configure(TWO)
        (here.folder / "migrations").mkdir()
        (here.folder / "migrations" / "1_slow.sql").write_text(
            "-- migrate:up\nCREATE VIEW public.slow WITH (security_invoker = true) AS "
            "SELECT 1 AS id, pg_sleep(2)::text AS slept;\n"
        )
        with here.serving("--demo") as running, ThreadPoolExecutor(8) as pool:
            kept = here.folder / ".fluxbase" / "demo-keys.json"
            wait(kept.exists, "the keys")
            key = json.loads(kept.read_text())["service"]
            calls = [
                pool.submit(running.call, key, "slow", "id", "X-Service-Key") for _ in range(4)
            ]
            in_use = 'fluxbase_pool_in_use{name="service"}'
            wait(lambda: metric(running.url, in_use) == 4, "the calls to run")
            pids = workers(running)
            assert running.stop() == 0
            assert [call.result().status_code for call in calls] == [200] * 4
            assert all(gone(pid) for pid in pids)
        assert not here.postgres_runs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_leaves_nothing_behind(number: int) -> None:
    with place() as here:
        here.configure(TWO)
        err = here.folder / "err.txt"
        with err.open("wb") as out:
            process = subprocess.Popen(
                ["fluxbase", "serve"], cwd=here.folder, env=here.env, stderr=out
            )
        running = Running(process, "", err, err)
        wait(lambda: workers(running) != [], "a worker")
        pids = workers(running)
        process.send_signal(number)
        assert process.wait(30) != 0
        wait(lambda: all(gone(pid) for pid in pids), "the workers' end")
        assert not here.postgres_runs()
        assert "Traceback" not in err.read_text()


def test_workers_do_not_outlive_their_parent() -> None:
    with place() as here:
        here.configure(TWO)
        with here.serving() as running:
            pids = workers(running)
            running.process.kill()
            running.process.wait(10)
            wait(lambda: all(gone(pid) for pid in pids), "the workers' end")
        wait(lambda: not here.postgres_runs(), "Postgres' end")


def test_a_start_whose_workers_cannot_start_fails_and_says_why() -> None:
    with place() as here:
        here.configure(
            TWO.replace("failed", "jwt: {jwks_file: no.json, issuer: i, audience: [a]}\n  failed")
        )
        done = here.run("serve")
        assert done.code == 2
        assert "auth.jwt.jwks_file" in done.err
        assert not here.postgres_runs()


@pytest.mark.parametrize("others", ["1", "2"])
def test_a_taken_port_is_found_though_workers_share_it(server: Demo, others: str) -> None:
    with place() as here:
        here.configure(CONFIG)
        done = here.run("serve", "--port", str(server.port), "--workers", others)
    assert done.code == 1
    assert "the port is in use" in done.err


def test_pools_that_do_not_fit_are_told_at_start_and_by_the_doctor() -> None:
    with place() as here:
        here.configure(TWO.replace('{fsync: "off"', '{max_connections: "40", fsync: "off"'))
        said = "2 workers x 29 = at most 58 connections; Postgres allows 37"
        with here.serving() as running:
            running.wait_for_log(said)
            lines = {line["check"]: line for line in here.run("doctor", "-o", "json").json}
        assert lines["connections"]["status"] == "note"
        assert lines["connections"]["detail"] == said
