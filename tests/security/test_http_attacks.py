"""Attacks on the HTTP layer over real sockets.

Every guard has its planted control: the same attack on uvicorn's own protocol gets through, which
proves that the attack is one and that the test can fail.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fluxbase.http.protocol import ProtocolLimits, guarded
from tests.security.http_harness import (
    BOUND,
    CHUNKED,
    HEAD,
    KEEP_ALIVE,
    LENGTH,
    LIMITS,
    MARK,
    PATIENCE,
    Answer,
    Door,
    assert_refused,
    eventually,
    get,
    post,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with serving(guarded(LIMITS)) as door:
        yield door


@pytest.fixture(scope="module")
def plain() -> Iterator[Door]:
    with serving(HttpToolsProtocol) as door:
        yield door


@pytest.fixture(autouse=True)
def _nobody_left(door: Door, plain: Door) -> Iterator[None]:
    yield
    eventually(lambda: not door.server.server_state.connections)


# -- slow senders


def slow_headers(door: Door, *, first: bytes = b"") -> Answer:
    with door.connect() as wire:
        if first:
            wire.send(first)
            assert wire.answer().status == 200
        wire.send(b"GET / HTTP/1.1\r\n" + HEAD + b"X-Slow: " + MARK)
        if not wire.drip(b"a"):
            wire.send(b"\r\n\r\n")
        return wire.answer()


@pytest.mark.parametrize("first", [b"", get()], ids=["first", "keep-alive"])
def test_slow_headers_are_cut_off(door: Door, plain: Door, first: bytes) -> None:
    assert_refused(slow_headers(door, first=first), 408)
    assert slow_headers(plain, first=first).status == 200


def blank_lines(door: Door) -> Answer:
    with door.connect() as wire:
        if not wire.drip(b"\r\n"):
            wire.send(get())
        return wire.answer()


def test_blank_lines_before_a_request_run_out_of_time(door: Door, plain: Door) -> None:
    assert_refused(blank_lines(door), 408)
    assert blank_lines(plain).status == 200


def test_a_few_blank_lines_before_a_request_do_no_harm(door: Door) -> None:
    assert door.ask(b"\r\n\r\n" + get()).status == 200


def test_a_silent_connection_is_closed(door: Door, plain: Door) -> None:
    with door.connect() as wire:
        assert wire.poll(PATIENCE)
        assert wire.ended()
    with plain.connect() as wire:
        assert not wire.poll(PATIENCE)


def slow_body(door: Door, *, chunked: bool) -> Answer:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5000"
    with door.connect() as wire:
        wire.send(post(framing))
        if not wire.drip(b"1\r\na\r\n" if chunked else b"a"):
            wire.send(b"0\r\n\r\n" if chunked else b"a" * (5000 - wire.dripped))
        return wire.answer()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slow_body_is_cut_off_and_the_app_sees_a_disconnect(
    door: Door, plain: Door, chunked: bool
) -> None:
    door.seen.clear()
    assert_refused(slow_body(door, chunked=chunked), 408)
    eventually(lambda: door.seen == ["disconnect"])
    assert slow_body(plain, chunked=chunked).status == 200


def test_a_body_that_keeps_the_rate_may_take_its_time(door: Door) -> None:
    with door.connect() as wire:
        wire.send(post(b"Content-Length: 20000"))
        sent, start = 0, time.monotonic()
        while sent < 20_000:
            wire.send(b"a" * 200)
            sent += 200
            assert sent == 20_000 or not wire.poll(0.01)
        assert wire.answer().json()["size"] == 20_000
        assert time.monotonic() - start > 2 * LIMITS.body_grace


def test_a_slow_app_is_not_blamed_on_its_client(door: Door) -> None:
    body = b"a" * 1_000_000
    answer = door.ask(post(b"Content-Length: 1000000", body=body, path=b"/late"))
    assert answer.json()["size"] == 1_000_000


def test_a_client_that_waits_for_100_is_not_slow(door: Door) -> None:
    with door.connect() as wire:
        wire.send(post(b"Content-Length: 2", b"Expect: 100-continue ", path=b"/late"))
        assert wire.answer().status == 100
        wire.send(b"ok")
        assert wire.answer().json()["size"] == 2


def test_a_client_that_never_reads_is_cut_off(door: Door, plain: Door) -> None:
    for server, open_after in ((door, 0), (plain, 1)):
        with server.connect() as wire:
            wire.send(get(b"/big"))
            eventually(lambda server=server: server.server_state_size() == 1)
            end = time.monotonic() + PATIENCE
            while server.server_state_size() and time.monotonic() < end:
                time.sleep(0.02)
            assert server.server_state_size() == open_after


def test_a_large_answer_is_whole_even_when_read_slowly(door: Door) -> None:
    with door.connect() as wire:
        wire.send(get(b"/big", b"Connection: close"))
        wire.sock.settimeout(BOUND)
        size, pause = 0, threading.Event()
        while data := wire.sock.recv(500_000):
            size += len(data)
            pause.wait(0.02)
        assert size > 30_000_000


# -- large heads


def test_huge_headers_are_refused(door: Door, plain: Door) -> None:
    attack = get(b"/", b"X-Huge: " + MARK * 5500)
    assert_refused(door.ask(attack), 431)
    assert plain.ask(attack).status == 200
    assert door.ask(get(b"/", b"X-Large: " + b"a" * 15_000)).status == 200


def test_a_huge_target_is_refused(door: Door, plain: Door) -> None:
    attack = get(b"/" + b"a" * 30_000)
    assert_refused(door.ask(attack), 431)
    assert plain.ask(attack).status == 200


def test_a_header_that_never_ends_is_refused_before_it_does(door: Door, plain: Door) -> None:
    for server, cut in ((door, True), (plain, False)):
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\n" + HEAD + b"X-Endless: ")
            reacted = False
            for _ in range(100):
                wire.send(b"a" * 1000)
                reacted = reacted or wire.poll(0.001)
            assert reacted is cut
            if cut:
                assert_refused(wire.answer(), 431)


def test_too_many_headers_are_refused(door: Door, plain: Door) -> None:
    attack = get(b"/", *[b"X-%d: a" % n for n in range(LIMITS.max_headers)])
    assert_refused(door.ask(attack), 431)
    assert plain.ask(attack).status == 200
    assert door.ask(get(b"/", *[b"X: a"] * (LIMITS.max_headers - 1))).status == 200


# -- what a proxy in front might read differently


CHUNKS = b"0\r\n\r\n"
# What is sent, what we answer, what uvicorn answers: where it refuses as well this pins it, and
# where it does not it is the planted control.
AMBIGUOUS: dict[str, tuple[bytes, int, int]] = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, 200),
    "two hosts": (get(b"/", b"Host: evil"), 400, 200),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\n" + HEAD * 2 + b"\r\n", 400, 200),
    "space before colon": (get(b"/", b"X-Key : evil"), 400, 400),
    "version 2.0": (b"GET / HTTP/2.0\r\n" + HEAD + b"\r\n", 505, 200),
    "version 1.7": (b"GET / HTTP/1.7\r\n" + HEAD + b"\r\n", 400, 400),
    "length, chunked": (post(LENGTH, CHUNKED, body=CHUNKS), 400, 400),
    "chunked, length": (post(CHUNKED, LENGTH, body=CHUNKS), 400, 400),
    "two lengths": (post(LENGTH, LENGTH, body=b"abc"), 400, 400),
    "two different lengths": (post(LENGTH, b"Content-Length: 4", body=b"abc"), 400, 400),
    "length list": (post(b"Content-Length: 3, 3", body=b"abc"), 400, 400),
    "length with sign": (post(b"Content-Length: +3", body=b"abc"), 400, 400),
    "length negative": (post(b"Content-Length: -1", body=b"abc"), 400, 400),
    "coding unknown": (post(b"Transfer-Encoding: xchunked", body=CHUNKS), 400, 400),
    "coding list": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), 400, 200),
    "two codings": (post(b"Transfer-Encoding: gzip", CHUNKED, body=CHUNKS), 400, 200),
    "chunked in 1.0": (post(CHUNKED, body=CHUNKS).replace(b"/1.1", b"/1.0"), 400, 200),
    "chunk size": (post(CHUNKED, body=b"g\r\n"), 400, 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400, 400),
    "bare LF in the head": (get(b"/", b"A: b\nC: d"), 400, 400),
    "NUL in a value": (get(b"/", b"X: a\x00b"), 400, 400),
    "NUL in a name": (get(b"/", b"X\x00: a"), 400, 400),
    "folded line": (get(b"/", b"X: a", b" folded"), 400, 400),
    "target not ASCII": (get(b"/\x80"), 400, 400),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\n" + HEAD + b"\r\n", 400, 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400, 400),
}


@pytest.mark.parametrize("flaw", AMBIGUOUS)
def test_ambiguous_requests_are_refused(door: Door, plain: Door, flaw: str) -> None:
    attack, status, plain_status = AMBIGUOUS[flaw]
    assert_refused(door.ask(attack), status)
    assert plain.ask(attack).status == plain_status


@pytest.mark.parametrize(
    "request_",
    [
        get(),
        b"GET / HTTP/1.0\r\n\r\n",
        post(LENGTH, body=b"abc"),
        post(b"Transfer-Encoding: Chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
        get(b"/", b"Content-Length: 0"),
    ],
)
def test_the_same_requests_without_the_flaw_pass(door: Door, request_: bytes) -> None:
    assert door.ask(request_).status == 200


def header_of(answer: Answer, name: str) -> list[str]:
    return [value for key, value in answer.json()["headers"] if key == name]


def test_blanks_around_a_value_are_no_part_of_it(door: Door, plain: Door) -> None:
    attack = get(b"/", b"X-Key: \t value\t  ")
    assert header_of(door.ask(attack), "x-key") == ["value"]
    assert header_of(plain.ask(attack), "x-key") != ["value"]


def test_a_trailer_does_not_become_a_header(door: Door, plain: Door) -> None:
    chunks = b"1\r\na\r\n0\r\nX-Role: admin\r\n\r\n"
    attack = post(CHUNKED, body=chunks)
    assert header_of(door.ask(attack), "x-role") == []
    assert header_of(plain.ask(attack), "x-role") == ["admin"]


def smuggle(door: Door) -> str:
    inner = get(b"/smuggled")
    door.seen.clear()
    with door.connect() as wire:
        head = (b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(inner))
        wire.send(post(*head, path=b"/outer"))
        wire.poll(0.2)
        wire.send(inner)
        wire.poll(0.5)
    return " ".join(door.seen)


def test_the_body_of_an_upgrade_is_not_run_as_a_request(door: Door, plain: Door) -> None:
    assert smuggle(door) == ""
    assert "/smuggled" in smuggle(plain)


def test_an_upgrade_without_a_body_is_served_as_http_and_closed(door: Door) -> None:
    with door.connect() as wire:
        wire.send(get(b"/", b"Connection: upgrade", b"Upgrade: h2c"))
        wire.send(get(b"/next"))
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.ended()


# -- many requests, many connections


def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    with door.connect() as wire:
        wire.send(get(b"/1") + post(LENGTH, body=b"abc", path=b"/2") + get(b"/3"))
        assert [wire.answer().json()["path"] for _ in range(3)] == ["/1", "/2", "/3"]


def test_a_bad_request_behind_a_good_one_does_not_take_its_answer(door: Door, plain: Door) -> None:
    attack = get(b"/1") + b"GET / HTTP/1.1\r\nbad header\r\n\r\n"
    with door.connect() as wire:
        wire.send(attack)
        answer = wire.answer()
        assert (answer.status, answer.json()["path"]) == (200, "/1")
        assert wire.ended()
    assert plain.ask(attack).status == 400


def test_a_slow_head_behind_a_request_does_not_take_its_answer(door: Door) -> None:
    with door.connect() as wire:
        wire.send(post(b"Content-Length: 0", path=b"/late") + b"GET / HTTP/1.1\r\n")
        assert wire.answer().status == 200
        assert_refused(wire.answer(), 408)


def test_one_connection_serves_many_requests_beyond_every_deadline(door: Door) -> None:
    with door.connect() as wire:
        end = time.monotonic() + 2.5 * LIMITS.header_timeout
        while time.monotonic() < end:
            wire.send(post(LENGTH, body=b"abc"))
            assert wire.answer().status == 200
            assert not wire.poll(0.05)


def test_an_idle_connection_is_kept_for_its_time_and_closed_without_a_word(door: Door) -> None:
    with door.connect() as wire:
        wire.send(get())
        assert wire.answer().status == 200
        assert not wire.poll(KEEP_ALIVE * 0.7)
        assert wire.ended()


def test_an_early_answer_does_not_make_us_read_an_endless_body(door: Door, plain: Door) -> None:
    for server, cut in ((door, True), (plain, False)):
        with server.connect() as wire:
            wire.send(post(b"Content-Length: 9999999", path=b"/early"))
            assert wire.answer().status == 401
            closed = False
            for _ in range(100):
                wire.send(b"a" * 2000)
                closed = closed or wire.poll(0.001)
            assert closed is cut


def test_an_early_answer_to_a_short_body_keeps_the_connection(door: Door) -> None:
    with door.connect() as wire:
        wire.send(post(LENGTH, path=b"/early"))
        assert wire.answer().status == 401
        wire.send(b"abc" + get(b"/next"))
        assert wire.answer().json()["path"] == "/next"


def crowd(door: Door) -> list[int]:
    """Open more connections than allowed and return what each further one is told."""
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.max_connections_per_ip):
            wire = stack.enter_context(door.connect())
            wire.send(get())
            assert wire.answer().status == 200
        answers: list[int] = []
        for _ in range(3):
            wire = stack.enter_context(door.connect())
            if not wire.poll(0.2):
                wire.send(get())
            answers.append(wire.answer().status)
        return answers


def test_a_peer_may_only_hold_so_many_connections(door: Door, plain: Door) -> None:
    assert crowd(door) == [503, 503, 503]
    eventually(lambda: not door.server.server_state.connections)
    assert door.ask(get()).status == 200, "the places were not given back"
    assert crowd(plain) == [200, 200, 200]


def test_a_listed_proxy_is_not_counted() -> None:
    limits = ProtocolLimits(max_connections_per_ip=1, uncapped_peers=("127.0.0.0/8",))
    with serving(guarded(limits)) as door, door.connect(), door.connect():
        assert door.ask(get()).status == 200


def test_refusals_say_why_and_never_repeat_the_input(door: Door) -> None:
    answer = door.ask(b"GET / HTTP/1.1\r\n" + MARK + b"\r\n\r\n")
    assert_refused(answer, 400)
    assert answer.headers["cache-control"] == "no-store"
