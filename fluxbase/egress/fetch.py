"""Fetches a document from an address that a stranger named; it must not know what it says.

Only https, only to public addresses, to the very address that was looked at, without redirects,
within a size and a time; nothing of the environment has a say.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fluxbase.egress.addresses import is_allowed
from fluxbase.errors import FluxbaseError

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.egress.addresses import Network

_SECONDS: Final = 5.0
_MOST: Final = 65_536


class Unreachable(FluxbaseError):
    """The document cannot be had: the address is not allowed, does not answer, or is too large."""

    code, title, status = "FLX304", "The address cannot be fetched", 400


class Egress:
    """What may be fetched."""

    def __init__(self, allowed: tuple[Network, ...] = (), ca_file: Path | None = None) -> None:
        self._allowed = allowed
        self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)

    async def fetch(self, url: str) -> bytes:
        """Return the body of a JSON document.

        Raises:
            Unreachable: it cannot be had.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or is_literal(parts.hostname):
            raise Unreachable("only https addresses with a host name are fetched")
        connector = aiohttp.TCPConnector(
            resolver=Resolver(self._allowed), ssl=self._tls, use_dns_cache=False, limit=4
        )
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, trust_env=False
                ) as session,
                session.get(
                    url, allow_redirects=False, headers={"Accept": "application/json"}
                ) as answer,
            ):
                return await _body(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            raise Unreachable("the address does not answer as it should") from error


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    if answer.status != 200:
        raise Unreachable("the address does not answer with 200")
    body = b""
    async for chunk in answer.content.iter_chunked(8192):
        body += chunk
        if len(body) > _MOST:
            raise Unreachable(f"the document has more than {_MOST} bytes")
    return body


class Resolver(AbstractResolver):
    """Looks a name up and gives only addresses that may be spoken to; the connection uses them."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name; raises `OSError` when one of them is not public."""
        loop = asyncio.get_running_loop()
        found: list[Any] = await loop.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM
        )
        addresses = {entry[4][0] for entry in found}
        # One inner address among public ones is an attempt; none of them is used then.
        if not addresses or not all(is_allowed(text, self._allowed) for text in addresses):
            raise OSError(None, "the name leads to an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=entry[4][0],
                port=port,
                family=entry[0],
                proto=entry[2],
                flags=socket.AI_NUMERICHOST,
            )
            for entry in found
        ]

    async def close(self) -> None:
        """Nothing is kept open."""


def is_literal(name: str) -> bool:
    """Return whether a host is an address in any spelling, not a name.

    It is read as the client reads it, who asks no resolver for an address: in other digits and
    with other dots it is the same one.
    """
    try:
        host = URL.build(scheme="https", host=name).raw_host or ""
    except ValueError:
        return True  # no name at least
    host = host.rstrip(".")
    try:
        ip_address(host)
    except ValueError:
        # `127.1`, `2130706433` and `0x7f000001` are addresses too, to whoever resolves them.
        return host.rpartition(".")[2].isdigit() or host.lower().startswith("0x")
    return True
