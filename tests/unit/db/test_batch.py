"""What a batch makes of what Postgres says, byte for byte; the real one is in tests/integration."""

from __future__ import annotations

import asyncio
import itertools
import struct
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.db import messages
from fluxbase.db.batch import Batch, Read
from fluxbase.db.line import Prepared

ROLE = "key_é"
IDLE, FAILED = b"I", b"E"


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def columns(*named: tuple[str, int]) -> bytes:
    fields = [
        name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, oid, -1, -1, 0) for name, oid in named
    ]
    return message("T", struct.pack("!H", len(named)) + b"".join(fields))


def row(*values: object, role: str = ROLE) -> bytes:
    texts = [None if value is None else str(value).encode() for value in (role, *values)]
    parts = [
        struct.pack("!i", -1) if text is None else struct.pack("!i", len(text)) + text
        for text in texts
    ]
    return message("D", struct.pack("!H", len(texts)) + b"".join(parts))


def error(code: str, severity: str = "ERROR", function: str = "f") -> bytes:
    fields = {"S": severity, "V": severity, "C": code, "M": "no ☹", "R": function}
    said = b"".join(f"{letter}{text}".encode() + b"\0" for letter, text in fields.items())
    return message("E", said + b"\0")


def ready(status: bytes = IDLE) -> bytes:
    return message("Z", status)


TABLE = columns(("current_user", 19), ("n", 23), ("said", 25))
PREPARED = message("1") + message("t", b"\0\0") + TABLE
BOUND, DONE = message("2"), message("C", b"SELECT 1\0")
USUAL = (BOUND, row(7, "é"), DONE, ready())


class Driver:
    """Notes what asyncpg's protocol is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost {exc}")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Line:
    """A line without a server."""

    def __init__(self) -> None:
        self.driver: Any = Driver()
        self.listens, self.transport = self.driver, self
        self.forgotten: list[str] = []
        self.known: dict[str, Prepared] = {}
        self.cut = False

    def get_protocol(self) -> Any:
        return self.listens

    def set_protocol(self, protocol: Any) -> None:
        self.listens = protocol

    def write(self, data: bytes) -> None:
        assert data.endswith(messages.run(b"x", messages.values(()))[-15:])

    def prepared(self, text: str, _saying: list[bytes]) -> Prepared:
        return self.known.setdefault(text, Prepared(b"x"))

    def forget(self, text: str) -> None:
        self.forgotten.append(text)

    def terminate(self) -> None:
        assert self.listens is self.driver
        self.cut = True


class Stage:
    """A batch of some reads of the same or of different texts, and its end."""

    def __init__(self, *texts: str) -> None:
        self.line, self.ends = Line(), 0
        loop = asyncio.get_running_loop()
        line: Any = self.line
        reads = [Read(text, messages.values(()), 0.0, loop.create_future()) for text in texts]
        self.batch = Batch(line, ROLE, reads, self._ended)
        self.batch.send()
        assert self.line.listens is self.batch

    def _ended(self, batch: Batch) -> None:
        assert batch is self.batch
        assert self.line.listens is self.line.driver
        self.ends += 1

    def hear(self, *said: bytes) -> None:
        self.batch.data_received(b"".join(said))

    def found(self) -> list[Any]:
        """Return rows, `None` for what goes alone, errors, and dots for what still waits."""

        def one(read: Read) -> Any:
            if not read.row.done():
                return ...
            return read.row.exception() or read.row.result()

        return [one(read) for read in self.batch.reads]


STREAM = b"".join(
    (
        PREPARED, *USUAL,
        message("N", b"SNOTICE\0Mx\0\0"), BOUND, row(None, "x" * 300), DONE, ready(),
        BOUND, error("22012"), ready(),
        *USUAL,
        BOUND, message("C", b"SELECT 0\0"), ready(),
        BOUND, row(1, "first"), row(2, "second"), message("C", b"SELECT 2\0"), ready(),
    )
)  # fmt: skip


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=6, unique=True))
async def test_it_does_not_matter_in_what_pieces_it_comes(cuts: list[int]) -> None:
    stage = Stage(*"aaaaaa")
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(places):
        assert stage.ends == 0
        stage.hear(STREAM[begin:end])
    found = stage.found()
    assert isinstance(found.pop(2), asyncpg.DivisionByZeroError)
    usual = (ROLE, 7, "é")
    assert found == [usual, (ROLE, None, "x" * 300), usual, None, (ROLE, 1, "first")]
    assert (stage.ends, stage.batch.sound, stage.line.forgotten) == (1, True, [])


async def test_values_are_found_by_name_and_by_place() -> None:
    stage = Stage("a")
    stage.hear(PREPARED, *USUAL)
    [found] = stage.found()
    assert (found["n"], found["said"], found[0], found[-1]) == (7, "é", ROLE, "é")
    with pytest.raises(KeyError):
        found["other"]


@pytest.mark.parametrize(
    "more",
    [b"2", BOUND, row(1, "x"), ready(), error("57P01", "FATAL"), b"".join(USUAL), TABLE],
    ids=["a piece", "bound", "row", "ready", "fatal", "answer", "columns"],
)
async def test_nothing_may_come_after_the_last_answer(more: bytes) -> None:
    stage = Stage("a")
    stage.hear(PREPARED, *USUAL, more)
    assert stage.found() == [(ROLE, 7, "é")]
    assert (stage.ends, stage.batch.sound, stage.batch.lost) == (1, False, False)


@pytest.mark.parametrize("status", [b"T", FAILED])
async def test_a_transaction_that_stays_open_ends_the_line(status: bytes) -> None:
    stage = Stage("a", "a")
    stage.hear(PREPARED, BOUND, row(1, "x"), DONE, ready(status), *USUAL)
    assert stage.found() == [None, None]
    assert (stage.ends, stage.batch.sound) == (1, False)


async def test_a_setting_that_is_reported_ends_the_line() -> None:
    stage = Stage("a", "a")
    stage.hear(PREPARED, BOUND, message("S", b"TimeZone\0UTC\0"), row(1, "x"), DONE, ready())
    assert stage.found() == [None, ...]
    stage.hear(*USUAL)
    assert stage.found() == [None, None]
    assert (stage.ends, stage.batch.sound) == (1, False)


async def test_a_row_of_another_role_is_given_to_nobody_nor_is_one_after_it() -> None:
    stage = Stage("a", "a", "a")
    stage.hear(PREPARED, *USUAL, BOUND, row(1, "x", role="key_e"), row(2, "y"), DONE, ready())
    stage.hear(*USUAL)
    assert stage.found() == [(ROLE, 7, "é"), None, None]
    assert (stage.ends, stage.batch.sound) == (1, False)


async def test_columns_of_other_types_are_left_to_the_driver() -> None:
    stage = Stage("a", "b")
    stage.hear(message("1"), message("t", b"\0\0"), columns(("u", 19), ("at", 1184)))
    stage.hear(*USUAL, PREPARED, *USUAL)
    assert stage.found() == [None, (ROLE, 7, "é")]
    assert (stage.batch.unreadable, stage.batch.sound) == ({"a"}, True)


@pytest.mark.parametrize(
    ("said", "kind", "forgotten"),
    [
        (PREPARED + BOUND + error("22P02"), asyncpg.InvalidTextRepresentationError, []),
        (PREPARED + BOUND + row(1, "x") + error("57014"), asyncpg.QueryCanceledError, []),
        (error("42P01"), asyncpg.UndefinedTableError, ["a"]),
        (PREPARED + error("0A000", function="RevalidateCachedQuery"), None, ["a"]),
        (PREPARED + error("0A000"), asyncpg.FeatureNotSupportedError, []),
        (error("26000"), None, ["a"]),
        (PREPARED + BOUND + row(1, "x") + error("57P01", "FATAL"), None, []),
    ],
)
async def test_errors_are_the_drivers_but_for_those_it_knows_what_to_do_about(
    said: bytes, kind: Any, forgotten: list[str]
) -> None:
    stage = Stage("a", "b")
    stage.hear(said, ready(), PREPARED, *USUAL)
    first, second = stage.found()
    assert first is kind or isinstance(first, kind)
    assert second == (ROLE, 7, "é")
    assert stage.line.forgotten == forgotten
    assert (stage.ends, stage.batch.sound) == (1, True)
    if kind is not None:
        assert str(first) == "no ☹"


async def test_who_has_given_up_is_told_nothing() -> None:
    stage = Stage("a", "a", "a")
    stage.batch.reads[0].row.cancel()
    stage.batch.reads[1].row.cancel()
    stage.hear(PREPARED, *USUAL, error("22012"), ready(), *USUAL)
    assert stage.batch.reads[2].row.result() == (ROLE, 7, "é")
    assert stage.ends == 1


async def test_a_lost_line_is_told_to_the_driver_and_ends_the_batch_once() -> None:
    stage = Stage("a", "a")
    stage.batch.pause_writing()
    stage.hear(PREPARED, *USUAL)
    stage.batch.resume_writing()
    stage.batch.connection_lost(OSError("gone"))
    assert stage.found() == [(ROLE, 7, "é"), None]
    assert (stage.ends, stage.batch.sound, stage.batch.lost) == (1, False, True)
    stage.batch.connection_lost(None)
    assert stage.ends == 1
    assert stage.line.driver.told == ["pause", "resume", "lost gone", "lost None"]


async def test_a_line_that_is_cut_off_ends_the_batch_once() -> None:
    stage = Stage("a", "a")
    stage.batch.cut()
    assert stage.line.cut
    assert stage.found() == [None, None]
    assert (stage.ends, stage.batch.sound, stage.batch.lost) == (1, False, True)
