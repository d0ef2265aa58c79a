"""Reads what a request's headers say of the protocol; it must not know callers or methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.errors import InvalidArgument, InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION: Final = "mcp-protocol-version"
SESSION: Final = "mcp-session-id"
LAST_EVENT: Final = "last-event-id"
_ACCEPT: Final = b"accept"
_KEPT: Final = LAST_EVENT.encode()
_JSON: Final = [b"application/json"]


class UnsupportedMediaType(InvalidMessage):
    """The body is not declared as JSON."""

    title, status = "The Content-Type must be application/json", 415


class NotAcceptable(InvalidArgument):
    """What is asked for is an event stream, and the client does not take one."""

    title, status = "The answer is an event stream; send Accept: text/event-stream", 406


class Said(dict[str, str]):
    """The protocol's own headers by their lower names, and whether event streams are taken."""

    takes_streams = False


def read(headers: Iterable[tuple[bytes, bytes]]) -> Said:
    """Return what the headers of any request say."""
    said = Said()
    for name, value in headers:
        if name == _ACCEPT:
            said.takes_streams |= b"text/event-stream" in value.lower()
        elif name[:4] == b"mcp-" or name == _KEPT:
            _keep(said, name.decode("latin-1"), value)
    return said


def read_post(headers: Iterable[tuple[bytes, bytes]]) -> Said:
    """Return what the headers of a POST say, after the type of its body was judged.

    Raises:
        UnsupportedMediaType: the body is not declared as plain JSON.
    """
    said = Said()
    types: list[bytes] = []
    for name, value in headers:
        if name[:4] == b"mcp-":
            _keep(said, name.decode("latin-1"), value)
        elif name == b"content-type":
            types.append(value)
        elif name == _ACCEPT:
            said.takes_streams |= b"text/event-stream" in value.lower()
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("The body must be sent without a Content-Encoding")
    if types != _JSON and [_kind(value) for value in types] != _JSON:
        raise UnsupportedMediaType
    return said


def _kind(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


def _keep(said: Said, name: str, value: bytes) -> None:
    # httptools leaves blanks at the end of a value, which other servers take off. A header sent
    # twice is one with a comma (RFC 9110, 5.3), so that it equals nothing in the body.
    text = value.strip(b" \t").decode("latin-1")
    said[name] = f"{said[name]}, {text}" if name in said else text
