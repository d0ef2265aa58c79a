"""Which addresses a person may be sent back to; it must not know clients or requests.

Sources: OAuth 2.1 2.3; RFC 8252 7.3 (loopback ports are ignored), 7.1 (private-use schemes).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LONGEST: Final = 2000
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
# What a browser runs or opens by itself instead of handing it to an application.
_NEVER: Final = frozenset(
    {
        "javascript",
        "data",
        "vbscript",
        "file",
        "blob",
        "about",
        "filesystem",
        "view-source",
        "ws",
        "wss",
        "ftp",
        "mailto",
        "tel",
        "intent",
    }
)


def is_safe(uri: str) -> bool:
    """Return whether a client may name `uri` as an address to be sent back to.

    It may be https, http on this very machine, or a scheme of the client's own.
    """
    if not 0 < len(uri) <= _LONGEST or not uri.isascii() or not uri.isprintable() or " " in uri:
        return False
    parts = _split(uri)
    if parts is None or "#" in uri or "\\" in uri or "@" in parts.netloc:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme == "http":
        return parts.hostname in LOOPBACK
    return bool(_SCHEME.fullmatch(parts.scheme)) and parts.scheme not in _NEVER


def matches(registered: str, asked: str) -> bool:
    """Return whether a client that registered one address may use the other.

    Nothing but equality counts, save for the port of an address on this very machine: a program
    there takes the one that is free.
    """
    if registered == asked:
        return True
    one, other = _split(registered), _split(asked)
    if one is None or other is None or one.scheme != "http" or one.hostname not in LOOPBACK:
        return False
    return _without_port(one) == _without_port(other) and is_safe(asked)


def host(uri: str) -> str:
    """Return what a person should know of an address: its host, or the scheme of an application."""
    parts = _split(uri)
    if parts is None:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def is_local(uri: str) -> bool:
    """Return whether an address leads to a program on the person's own device."""
    parts = _split(uri)
    return parts is not None and (parts.scheme != "https")


def _without_port(parts: SplitResult) -> tuple[str, str | None, str, str]:
    return parts.scheme, parts.hostname, parts.path, parts.query


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None
