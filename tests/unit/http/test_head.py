"""What follows from headers alone is worked out once, for as long as they stay the same."""

from __future__ import annotations

import pytest

from fluxbase.http.head import Facts, Head, Headers, once

HEADERS: Headers = [(b"host", b"a"), (b"x-client-key", b"one"), (b"content-length", b"10")]


class Reading:
    """Counts how often it is asked; returns the key, which may be nothing."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, headers: Headers) -> bytes | None:
        self.asked += 1
        return dict(headers).get(b"x-client-key")


def changed(place: int, name: bytes, value: bytes) -> Headers:
    return [*HEADERS[:place], (name, value), *HEADERS[place + 1 :]]


def test_the_same_headers_are_read_once() -> None:
    read, first = Reading(), Head(HEADERS, None)
    assert [once(first, read), once(first, read)] == [b"one", b"one"]
    longer = Head(changed(2, b"content-length", b"99"), first)
    assert once(longer, read) == b"one"
    assert read.asked == 1
    assert (b"content-length", b"99") in longer


@pytest.mark.parametrize(
    "other",
    [
        changed(1, b"x-client-key", b"two"),
        changed(1, b"x-client-kez", b"one"),
        [HEADERS[1], HEADERS[0], HEADERS[2]],
        HEADERS[1:],
        [*HEADERS, (b"x-client-key", b"one")],
        [*HEADERS, (b"accept", b"*/*")],
    ],
)
def test_other_headers_are_read_anew(other: Headers) -> None:
    read, first = Reading(), Head(HEADERS, None)
    once(first, read)
    once(Head(other, first), read)
    assert read.asked == 2
    # Nor do they come back: only the last request is looked at.
    third = Head(HEADERS, Head(other, first))
    once(third, read)
    assert read.asked == 3


def test_a_head_that_comes_again_is_not_read_but_is_a_list_of_its_own() -> None:
    raw: Headers = [(b"Host", b"a"), (b"X-Client-Key", b"one \t"), (b"Content-Length", b"10")]
    read, first = Reading(), Head(raw, None)
    assert first == HEADERS
    again = Head(list(raw), first)
    assert [once(first, read), once(again, read)] == [b"one", b"one"]
    assert read.asked == 1
    assert again.facts is first.facts
    again.append((b"x-added", b"later"))
    assert Head(list(raw), again) == HEADERS == first


@pytest.mark.parametrize(
    ("raw", "facts"),
    [
        ([(b"Host", b"a")], Facts(9, 1, False, False, False, False)),
        ([(b"host", b"a"), (b"HOST", b"b")], Facts(18, 2, False, False, False, False)),
        ([(b"Content-Length", b"00")], Facts(20, 0, False, False, False, False)),
        ([(b"Content-Length", b"05")], Facts(20, 0, False, False, True, False)),
        ([(b"Transfer-Encoding", b"Chunked ")], Facts(28, 0, True, False, True, False)),
        ([(b"Transfer-Encoding", b"gzip")], Facts(25, 0, True, True, True, False)),
        ([(b"Transfer-Encoding", b"chunked")] * 2, Facts(56, 0, True, True, True, False)),
        ([(b"Expect", b"100-Continue")], Facts(22, 0, False, False, False, True)),
    ],
)
def test_what_a_connection_has_to_know_is_read_from_any_spelling(
    raw: Headers, facts: Facts
) -> None:
    assert Head(raw, None).facts == facts


def test_nothing_is_kept_as_well_as_something_and_each_reading_by_itself() -> None:
    one, two, head = Reading(), Reading(), Head(HEADERS[:1], None)
    assert [once(head, one), once(head, one), once(head, two)] == [None, None, None]
    assert (one.asked, two.asked) == (1, 1)


def test_what_is_raised_is_not_kept() -> None:
    asked: list[int] = []

    def refuse(_: Headers) -> None:
        asked.append(1)
        raise ValueError("none")

    head = Head(HEADERS, None)
    for _ in range(2):
        with pytest.raises(ValueError, match="none"):
            once(head, refuse)
    assert len(asked) == 2


def test_headers_of_another_server_are_read_each_time() -> None:
    read = Reading()
    assert [once(HEADERS, read), once(HEADERS, read)] == [b"one", b"one"]
    assert read.asked == 2
