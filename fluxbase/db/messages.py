"""The messages of Postgres' protocol that a read takes; it must not know connections or callers.

Values and columns travel as text. What is neither text nor a whole number is left to the driver.

Source: PostgreSQL documentation, Frontend/Backend Protocol, Message Formats.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH: Final = struct.Struct("!I")
_COUNT: Final = struct.Struct("!H")
_SIZE: Final = struct.Struct("!i")  # of a value; -1 is a null
_FIELD: Final = struct.Struct("!IhIhih")  # a column's table, number, type, its size, modifier, form
size_at: Final = _SIZE.unpack_from
_NULL: Final = _SIZE.pack(-1)
_MANY: Final = 1024
_MOST_VALUES: Final = 256
_MOST_NUMBER: Final = 2**63
_LONGEST: Final = 8_192  # characters; longer texts are no small read
# Execute of the unnamed portal to its end, and Sync, which ends the transaction.
_RUN: Final = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"
_TEXTS: Final = frozenset({19, 25, 114, 1043, 3802})  # name, text, json, varchar, jsonb
_NUMBERS: Final = frozenset({20, 21, 23})  # int8, int2, int4

# What a server says, by its first byte.
ROW: Final = ord("D")
COLUMNS: Final = ord("T")
ERROR: Final = ord("E")
READY: Final = ord("Z")
# ParseComplete, BindComplete, CloseComplete, CommandComplete, ParameterDescription, a notice.
SILENT: Final = frozenset(b"123CtN")
HEAD: Final = 5  # bytes of a message that say what it is and how long
# What stands around the rest of a DataRow where a read found its one row, as nearly every one does.
BEFORE_ROW: Final = b"2\0\0\0\4D"
AFTER_ROW: Final = b"C\0\0\0\rSELECT 1\0Z\0\0\0\5I"


class Unsendable(Exception):
    """A value is no short text and no whole number: the driver knows what to do with it."""


class Row(tuple[Any, ...]):
    """A row, whose values are found by place and by name, like the driver's."""

    __slots__ = ()
    places: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        """Return the value at a place or of a name, or raise `KeyError` or `IndexError`."""
        return super().__getitem__(self.places[key] if type(key) is str else key)


class Columns(NamedTuple):
    """How the rows of a statement are read, and which columns after the first are numbers."""

    row: type[Row]
    numbers: tuple[bool, ...]

    def read(self, first: str, data: bytes, at: int) -> Row:
        """Return the row of a DataRow that was read to a place: its first value is `first`."""
        values: list[object] = [first]
        for number in self.numbers:
            (size,) = size_at(data, at)
            at += 4
            if size < 0:
                values.append(None)
                continue
            end = at + size
            value = data[at:end]
            values.append(int(value) if number else value.decode())
            at = end
        return self.row(values)


def prepare(name: bytes, text: str) -> bytes:
    """Return Parse and Describe of a statement."""
    body = b"%b\0%b\0\0\0" % (name, text.encode())
    described = b"D%bS%b\0" % (_LENGTH.pack(len(name) + 6), name)
    return b"P%b%b%b" % (_LENGTH.pack(len(body) + 4), body, described)


def forget(name: bytes) -> bytes:
    """Return Close of a statement."""
    return b"C%bS%b\0" % (_LENGTH.pack(len(name) + 6), name)


def values(given: Sequence[object]) -> bytes:
    """Return the values of a call as they stand in Bind, with a wish for columns as text.

    Raises:
        Unsendable: there are many of them, or one is of another kind, or long.
    """
    if len(given) > _MOST_VALUES:
        raise Unsendable
    parts = [b"\0\0", _COUNT.pack(len(given))]
    for value in given:
        if type(value) is int and -_MOST_NUMBER <= value < _MOST_NUMBER:
            parts.append(_number(value))
        elif type(value) is str and len(value) <= _LONGEST:
            parts.append(sized(_encoded(value)))
        elif value is None:
            parts.append(_NULL)
        else:
            raise Unsendable
    parts.append(b"\0\0")
    return b"".join(parts)


def run(name: bytes, bound: bytes) -> bytes:
    """Return what runs a prepared statement on values, in a transaction of its own."""
    return b"B%b\0%b\0%b%b" % (_LENGTH.pack(len(name) + len(bound) + 6), name, bound, _RUN)


def sized(text: bytes) -> bytes:
    """Return a text as it stands in a DataRow and in Bind."""
    return _LENGTH.pack(len(text)) + text


@lru_cache(maxsize=_MANY)
def _number(value: int) -> bytes:
    return sized(b"%d" % value)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unsendable from None


def columns(data: bytes, at: int) -> Columns | None:
    """Return how rows are read, of a RowDescription that begins, without its head, at a place.

    Nothing when one of its columns is of another type.
    """
    names: list[str] = []
    numbers: list[bool] = []
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    for _ in range(count):
        stop = data.index(0, at)
        kind = _FIELD.unpack_from(data, stop + 1)[2]
        if kind not in _TEXTS and kind not in _NUMBERS:
            return None
        names.append(data[at:stop].decode())
        numbers.append(kind in _NUMBERS)
        at = stop + 1 + _FIELD.size
    return Columns(_row_of(tuple(names)), tuple(numbers[1:]))


def fields(message: bytes) -> dict[str, str]:
    """Return what an ErrorResponse says, given without its head, by the letters of its fields."""
    said = message.rstrip(b"\0").split(b"\0")
    return {field[:1].decode(): field[1:].decode(errors="replace") for field in said if field}


@lru_cache(maxsize=_MANY)
def _row_of(names: tuple[str, ...]) -> type[Row]:
    places = {name: place for place, name in enumerate(names)}
    return type("Row", (Row,), {"__slots__": (), "places": places})


def end(data: bytes, at: int) -> int:
    """Return where the message ends that begins at a place, of which the head is there."""
    return at + 1 + int(_LENGTH.unpack_from(data, at + 1)[0])
